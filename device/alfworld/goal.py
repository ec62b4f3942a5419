"""The goal of a game: its PDDL formula as nested-loop queries, and which of the six task types it is.

Any conjunction of "there exist things such that ..." is evaluated as written, no task type is special-cased.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from duomem.device.alfworld.pddl import Expression, PddlError, parse_typed_list

Atom = tuple[str, ...]

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""In the order of ALFWorld's own numbers for them, from 1 on."""

# Predicates a goal may use, with the types of their arguments. Those in _STATIC never change in a game.
_STATIC: Mapping[str, tuple[str, ...]] = {
    "objecttype": ("object", "otype"),
    "receptacletype": ("receptacle", "rtype"),
    "receptacleatlocation": ("receptacle", "location"),
    "cleanable": ("object",),
    "heatable": ("object",),
    "coolable": ("object",),
    "toggleable": ("object",),
    "pickupable": ("object",),
}
_FLUENT: Mapping[str, tuple[str, ...]] = {
    "inreceptacle": ("object", "receptacle"),
    "objectatlocation": ("object", "location"),
    "atlocation": ("agent", "location"),
    "holds": ("agent", "object"),
    "isclean": ("object",),
    "ishot": ("object",),
    "iscool": ("object",),
    "istoggled": ("object",),
}
_SIGNATURES = {**_STATIC, **_FLUENT}
_MAX_BINDINGS = 100_000  # of one query, before any pruning; official games have at most 1,519
_MAX_PARTS = 16  # formulas of a goal, variables or atoms of a formula; official goals have at most 7


@dataclass(frozen=True)
class Formula:
    """Variables (name -> type), atoms that must all hold, and pairs of variables that must differ."""

    variables: Mapping[str, str]
    atoms: tuple[Atom, ...]
    different: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Query:
    """A formula ready to run. `candidates[i]` are the values variable i may take; `checks[i]` are the atoms
    and inequalities testable once it is bound, an int in them meaning that variable's value.
    """

    candidates: tuple[tuple[str, ...], ...]
    checks: tuple[tuple[tuple[str | int, ...], ...], ...]

    def holds(self, is_true: Callable[[Atom], bool]) -> bool:
        """Whether some binding satisfies every check, by nested loops that stop at the first failure."""
        return self._search(0, [], is_true)

    def _search(self, depth: int, bound: list[str], is_true: Callable[[Atom], bool]) -> bool:
        if depth == len(self.candidates):
            return True
        for value in self.candidates[depth]:
            bound.append(value)
            if all(_passes(check, bound, is_true) for check in self.checks[depth]) and self._search(
                depth + 1, bound, is_true
            ):
                return True
            bound.pop()
        return False


def _passes(check: tuple[str | int, ...], bound: list[str], is_true: Callable[[Atom], bool]) -> bool:
    atom = tuple([bound[word] if isinstance(word, int) else word for word in check])
    return atom[1] != atom[2] if atom[0] == "=" else is_true(atom)


@dataclass(frozen=True)
class PddlGoal:
    """task_type: one of TASK_TYPES. object_type: what to bring or look at ("mug"). target_type: the receptacle to
    bring it to ("coffeemachine"), or the lamp to look under. queries: the goal is reached when all hold.
    """

    task_type: str
    object_type: str
    target_type: str
    queries: tuple[Query, ...]

    @property
    def triple(self) -> tuple[str, str, str]:
        """What it is: (task type, object type, target type)."""
        return self.task_type, self.object_type, self.target_type

    def is_about(self, predicate: str, thing: str) -> bool:
        """Whether it may begin or cease to hold when `predicate`, or one that changes with it, changes of `thing`."""
        return thing in self._things and predicate != "opened"

    @cached_property
    def _things(self) -> frozenset[str]:
        """Every object and location that an atom of it is tested of."""
        words = (word for query in self.queries for checks in query.checks for check in checks for word in check[1:])
        fixed = {word for word in words if isinstance(word, str)}
        return frozenset(fixed.union(*(values for query in self.queries for values in query.candidates)))

    def reached(self, is_true: Callable[[Atom], bool]) -> bool:
        """Whether the goal holds in a state, given as the truth of its atoms."""
        return all(query.holds(is_true) for query in self.queries)


def parse_goal(goal: Expression, things: Mapping[str, str], facts: Mapping[str, Collection[Atom]]) -> PddlGoal:
    """Compile the expression behind `:goal` of a problem whose `things` are id -> type.

    facts: the initial arguments of each static predicate. Raises PddlError for a goal outside the six
    task types, an unknown predicate, a wrong type, or a formula too large to test at every step.
    """
    formulas = _split(goal, things)
    if any(len(part) > _MAX_PARTS for formula in formulas for part in (formulas, formula.variables, formula.atoms)):
        raise PddlError("the goal is too long for any ALFWorld task type")
    task_type, object_type, target_type = _classify(formulas)
    queries = sorted(
        (_compile(formula, things, facts) for formula in formulas),
        key=lambda query: prod(map(len, query.candidates)),
    )
    return PddlGoal(task_type, object_type, target_type, tuple(queries))


def _split(goal: Expression, things: Mapping[str, str]) -> list[Formula]:
    """The formulas whose conjunction is `goal`: one for each outermost `exists`."""
    if isinstance(goal, tuple) and goal[:1] == ("and",):
        return [formula for part in goal[1:] for formula in _split(part, things)]
    variables: dict[str, str] = {}
    atoms: list[Atom] = []
    different: list[tuple[str, str]] = []
    _gather(goal, variables, atoms, different, things)
    if not variables:
        raise PddlError("the goal does not say that something exists")
    return [Formula(variables, tuple(atoms), tuple(different))]


def _gather(
    part: Expression,
    variables: dict[str, str],
    atoms: list[Atom],
    different: list[tuple[str, str]],
    things: Mapping[str, str],
) -> None:
    """Merge nested `exists` and `and` into one list of variables, atoms and inequalities."""
    if not isinstance(part, tuple) or not part:
        raise PddlError("the goal holds a bare word or ()")
    head, rest = part[0], part[1:]
    if head == "and":
        for inner in rest:
            _gather(inner, variables, atoms, different, things)
    elif head == "exists" and len(rest) == 2 and isinstance(rest[0], tuple):
        for name, kind in parse_typed_list(rest[0]):
            if name in variables or not name.startswith("?"):
                raise PddlError(f"the goal declares {name} twice or not as a variable")
            variables[name] = kind
        _gather(rest[1], variables, atoms, different, things)
    elif head == "not" and len(rest) == 1 and isinstance(rest[0], tuple) and rest[0][:1] == ("=",):
        pair = _words(rest[0][1:])
        if len(pair) != 2 or not set(pair) <= set(variables):
            raise PddlError("an inequality of the goal does not compare two variables")
        different.append((pair[0], pair[1]))
    elif isinstance(head, str) and head in _SIGNATURES:
        arguments = _words(rest)
        kinds = tuple(variables.get(word) or things.get(word) for word in arguments)
        if kinds != _SIGNATURES[head]:
            raise PddlError(f"the goal uses {head} with unknown things or wrong types")
        atoms.append((head, *arguments))
    else:
        raise PddlError(f"the goal uses {str(head)[:40]!r}, which no ALFWorld task type has")


def _words(parts: tuple[Expression, ...]) -> tuple[str, ...]:
    words = tuple(part for part in parts if isinstance(part, str))
    if len(words) != len(parts):
        raise PddlError("an atom of the goal holds parentheses")
    return words


def _classify(formulas: list[Formula]) -> tuple[str, str, str]:
    """(task type, object type, target type) from the predicates used."""
    used = {atom[0] for formula in formulas for atom in formula.atoms}
    lit = [formula for formula in formulas if any(atom[0] == "istoggled" for atom in formula.atoms)]
    objects = _types("objecttype", [formula for formula in formulas if formula not in lit])
    targets = _types("receptacletype", formulas)
    changed = used & {"isclean", "ishot", "iscool"}
    if {"holds", "istoggled"} <= used and not changed:
        task_type, targets = "look_at_obj_in_light", _types("objecttype", lit)
    elif "inreceptacle" not in used or used & {"holds", "istoggled"} or len(changed) > 1:
        raise PddlError("the goal is of no ALFWorld task type")
    elif any(formula.different for formula in formulas):
        task_type = "pick_two_obj_and_place"
    elif changed:
        verb = {"isclean": "clean", "ishot": "heat", "iscool": "cool"}[changed.pop()]
        task_type = f"pick_{verb}_then_place_in_recep"
    else:
        task_type = "pick_and_place_simple"
    if len(objects) != 1 or len(targets) != 1:
        raise PddlError("the goal does not name exactly one object type and one target type")
    return task_type, objects.pop(), targets.pop()


def _types(predicate: str, formulas: list[Formula]) -> set[str]:
    """The types `predicate` asks for, without their "type" ending."""
    atoms = [atom for formula in formulas for atom in formula.atoms]
    return {atom[2].removesuffix("type") for atom in atoms if atom[0] == predicate}


def _compile(formula: Formula, things: Mapping[str, str], facts: Mapping[str, Collection[Atom]]) -> Query:
    candidates = {
        name: tuple(
            sorted(
                thing
                for thing, its_kind in things.items()
                if its_kind == kind
                and all(
                    tuple(thing if word == name else word for word in atom[1:]) in facts.get(atom[0], ())
                    for atom in formula.atoms
                    if atom[0] in _STATIC and name in atom and not any(w != name and w[0] == "?" for w in atom[1:])
                )
            )
        )
        for name, kind in formula.variables.items()
    }
    if prod(map(len, candidates.values())) > _MAX_BINDINGS:
        raise PddlError("the goal is too large to test at every step")
    order = sorted(candidates, key=lambda name: (len(candidates[name]), name))
    checks: list[list[tuple[str | int, ...]]] = [[] for _ in order]
    for words in (*formula.atoms, *(("=", *pair) for pair in formula.different)):
        check = tuple(order.index(word) if word in candidates else word for word in words)
        checks[max((word for word in check if isinstance(word, int)), default=0)].append(check)
    return Query(tuple(candidates[name] for name in order), tuple(map(tuple, checks)))
