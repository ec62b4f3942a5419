"""A game file (`game.tw-pddl`) as parsed, checked, static facts. The file is untrusted.

`load_game` lets nothing but a UserError out, whatever the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.errors import GameError
from duomem.core.reading import open_regular, parse_json, sha256_bytes
from duomem.device.alfworld.dialect import DIALECTS, DialectError, read_dialect, translate
from duomem.device.alfworld.game_files import split_of
from duomem.device.alfworld.goal import Atom, PddlGoal, parse_goal
from duomem.device.alfworld.names import display_names
from duomem.device.alfworld.pddl import Expression, PddlError, parse_pddl, parse_typed_list
from duomem.device.alfworld.stage import Stage

MAX_BYTES = 2 << 20  # the largest official game has 138 kB
MAX_WALKTHROUGH = 1000
_PARTS = [("problem",), (":domain",), (":objects",), (":init",), (":goal",)]
_ID = re.compile(r"[a-z0-9_-]{1,200}")
_RECEPTACLE = re.compile(r"[a-z]+_bar_.+")  # commands call it by a kind and a number: see names.display_names

# Facts a problem may state at the start, with the types of their arguments.
_SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "openable": ("receptacle",),
    "opened": ("receptacle",),
    "inreceptacle": ("object", "receptacle"),
    "isreceptacleobject": ("object",),
    "inreceptacleobject": ("object", "object"),
    "receptacletype": ("receptacle", "rtype"),
    "objecttype": ("object", "otype"),
    "cancontain": ("rtype", "otype"),
    "cleanable": ("object",),
    "isclean": ("object",),
    "heatable": ("object",),
    "ishot": ("object",),
    "coolable": ("object",),
    "iscool": ("object",),
    "pickupable": ("object",),
    "toggleable": ("object",),
    "istoggled": ("object",),
    "sliceable": ("object",),
    "issliced": ("object",),
}


@dataclass(frozen=True, eq=False)
class Game:
    """One game, never changed by playing it. Ids and type names are lower case, as PDDL ignores case.

    path: the file. digest: sha256 of its bytes. task: the goal sentence that is told, as in "put a clean mug in desk.".
    template: the sentence the file holds. goal_source: whose `task` is: "template", "human:N" or "own".
    dialect: "0.4" or "0.3", the version of alfworld whose words are spoken. help: what the `help` command prints, ""
    if there is none. cleaning_types: receptacle types in which things are cleaned.
    walkthrough: the stored solution, commands in order, empty if the file has none.
    things: id -> declared type (object, receptacle, location, agent, otype, rtype).
    names: id -> display name.
    facts: predicate -> set of argument tuples true at the start. goal: the formula and what it asks for.
    """

    path: Path
    digest: str
    task: str
    help: str
    cleaning_types: frozenset[str]
    walkthrough: tuple[str, ...]
    things: Mapping[str, str]
    names: Mapping[str, str]
    facts: Mapping[str, frozenset[Atom]]
    goal: PddlGoal
    template: str
    dialect: str
    goal_source: str = "template"

    @property
    def task_type(self) -> str:
        """The task type, one of goal.TASK_TYPES."""
        return self.goal.task_type

    @property
    def triple(self) -> tuple[str, str, str]:
        """What the goal is: (task type, object type, target type)."""
        return self.goal.triple

    @property
    def group(self) -> str:
        """The task-and-scene folder it lies in."""
        return self.path.parent.parent.name

    @property
    def split(self) -> str:
        """The split whose folder it lies in, see split_of."""
        return split_of(self.path)

    @property
    def world(self) -> str:
        """The name of its world."""
        return DEFAULT_WORLD

    @cached_property
    def start(self) -> str:
        """The location id where the player starts."""
        ((_, location),) = self.facts["atlocation"]
        return location

    @cached_property
    def receptacle_location(self) -> Mapping[str, str]:
        """Receptacle id -> location id, in the order of the ids."""
        return dict(sorted((atom[0], atom[1]) for atom in self.facts["receptacleatlocation"]))

    @cached_property
    def receptacle_type(self) -> Mapping[str, str]:
        """Receptacle id -> type, as in "cabinettype"."""
        return {atom[0]: atom[1] for atom in self.facts["receptacletype"]}

    @cached_property
    def object_type(self) -> Mapping[str, str]:
        """Object id -> type, as in "mugtype"; things that are only scenery have none."""
        return {atom[0]: atom[1] for atom in self.facts["objecttype"]}

    @cached_property
    def stage(self) -> Stage:
        """The tables that envs of this game share."""
        return Stage(self)

    def having(self, predicate: str) -> frozenset[str]:
        """The ids of which the one-place `predicate` ("openable", "isclean", ...) is true at the start."""
        return self._unary.get(predicate, frozenset())

    @cached_property
    def _unary(self) -> Mapping[str, frozenset[str]]:
        return {
            predicate: frozenset(atom[0] for atom in self.facts[predicate])
            for predicate, kinds in _SIGNATURES.items()
            if len(kinds) == 1
        }


def load_game(path: Path | str, dialect: str | None = "0.4") -> Game:
    """Read and check one game file, a game.tw-pddl.

    dialect: the version of alfworld whose words to play it in, "0.4" or "0.3"; None for those of the file.
    Raises GameError naming the file, the field and what to do, for anything that is not a playable game of
    the six task types under the known rules.
    """
    path = Path(path)
    try:
        with open_regular(path) as f:
            data = f.read(MAX_BYTES + 1)
    except OSError as e:
        raise GameError(f"{path}: cannot read this game ({e.strerror or e}): check the path") from None
    return parse_game(data, path, dialect)


def parse_game(data: bytes, path: Path, dialect: str | None = "0.4") -> Game:
    """As load_game, from the bytes of a file; `path` is only named in errors and kept in the result."""
    if dialect is not None and dialect not in DIALECTS:
        raise GameError(f"dialect {dialect!r} is none of {', '.join(DIALECTS)}")
    try:
        fields = parse_json(data, f"{path}: game", MAX_BYTES)
        walkthrough = _walkthrough(fields)
        rules = read_dialect(_text(fields, "pddl_domain"), _text(fields, "grammar"))
        things, facts, formula = _read_problem(_text(fields, "pddl_problem"))
        goal = parse_goal(formula, things, facts)
    except (PddlError, DialectError, _FieldError) as e:
        field = "pddl_problem: " if isinstance(e, PddlError) else ""
        raise GameError(
            f"{path}: not a game this engine can play: {field}{e}; get it again with alfworld-download (alfworld 0.4.2)"
        ) from None
    rules = rules.spoken_as(dialect or rules.version)
    names = display_names({word for atoms in facts.values() for atom in atoms for word in atom})
    return Game(
        path,
        sha256_bytes(data),
        rules.task,
        rules.help,
        rules.cleaning_types,
        tuple(translate(command, rules.version) for command in walkthrough),
        things,
        names,
        facts,
        goal,
        rules.task,
        rules.version,
    )


class _FieldError(ValueError):
    """A JSON field that is missing or of the wrong type."""


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _FieldError(f"field {name} is missing or not a string")
    return value


def _walkthrough(fields: Any) -> tuple[str, ...]:
    if not isinstance(fields, dict):
        raise _FieldError("it is not a JSON object")
    value = fields.get("walkthrough")
    if fields.get("solvable", True) is not True:
        raise _FieldError("field solvable is not true: it cannot be won")
    if value is None:
        return ()
    if (
        not isinstance(value, list)
        or len(value) > MAX_WALKTHROUGH
        or not all(isinstance(command, str) and len(command) <= 500 for command in value)
    ):
        raise _FieldError("field walkthrough is not a list of at most 1000 commands")
    return tuple(value)


def _read_problem(text: str) -> tuple[dict[str, str], dict[str, frozenset[Atom]], Expression]:
    """(things, facts, goal expression) of a PDDL problem. Raises PddlError."""
    sections = parse_pddl(text)
    parts = [section for section in sections if isinstance(section, tuple)]
    if sections[0] != "define" or len(parts) != len(sections) - 1 or [part[:1] for part in parts] != _PARTS:
        raise PddlError("its parts are not problem, :domain, :objects, :init and :goal, in this order")
    objects, init, goal = (part[1:] for part in parts[2:])
    if parts[1] != (":domain", "alfred") or len(goal) != 1:
        raise PddlError("it is not for the domain alfred, or has not one goal")
    pairs = parse_typed_list(objects)
    things = dict(pairs)
    if len(things) != len(pairs):
        raise PddlError("a thing is declared twice")
    for thing in things:
        if not _ID.fullmatch(thing):
            raise PddlError(f"{thing[:40]!r} is not an id of letters, digits, _ and -")
    facts = _read_facts(init, things)
    _check_layout(facts, things)
    return things, facts, goal[0]


def _read_facts(init: tuple[Expression, ...], things: Mapping[str, str]) -> dict[str, frozenset[Atom]]:
    found: dict[str, set[Atom]] = {predicate: set() for predicate in _SIGNATURES}
    for fact in init:
        if not isinstance(fact, tuple) or not fact or not isinstance(fact[0], str):
            raise PddlError(":init holds something that is not a fact")
        predicate = fact[0]
        arguments = tuple(word for word in fact[1:] if isinstance(word, str))
        if predicate not in found:
            raise PddlError(f":init states {predicate[:40]!r}, which this engine does not know")
        if tuple(map(things.get, arguments)) != _SIGNATURES[predicate] or len(arguments) != len(fact) - 1:
            raise PddlError(f":init states {predicate} of unknown things or wrong types")
        found[predicate].add(arguments)
    return {predicate: frozenset(atoms) for predicate, atoms in found.items()}


def _check_layout(facts: Mapping[str, frozenset[Atom]], things: Mapping[str, str]) -> None:
    """One player in one place; every receptacle in one place with one type; at most one type an object."""
    if list(things.values()).count("agent") != 1 or len(facts["atlocation"]) != 1:
        raise PddlError("there is not one agent at one location")
    receptacles = sorted(thing for thing, kind in things.items() if kind == "receptacle")
    if nameless := next((thing for thing in receptacles if not _RECEPTACLE.fullmatch(thing)), None):
        raise PddlError(f"{nameless[:40]!r} is no receptacle's id, as in desk_bar_..., so no command could name it")
    for predicate in ("receptacleatlocation", "receptacletype"):
        if sorted(atom[0] for atom in facts[predicate]) != receptacles:
            raise PddlError(f"a receptacle has not exactly one {predicate}")
    typed = [atom[0] for atom in facts["objecttype"]]
    if len(set(typed)) != len(typed):
        raise PddlError("an object has two types")
