"""The PDDL problem of a game, in the form of the official ones, from a furnished and filled scene."""

from __future__ import annotations

from collections.abc import Iterable

from duomem.train.games.goals import GeneratedGoal
from duomem.train.games.layouts import FloorPlan
from duomem.train.games.placement import Thing
from duomem.train.games.wheel import Wheel

_OPENABLE = frozenset({"Fridge", "Cabinet", "Microwave", "Drawer", "Safe"})
# Types the domain's actions name, so that every problem must declare them.
_NAMED_RECEPTACLES = frozenset({"SinkBasin", "Microwave", "Fridge"})
_NAMED_OBJECTS = frozenset({"Knife", "ButterKnife"})
_PREDICATES = {
    "Cleanable": "cleanable",
    "Heatable": "heatable",
    "Coolable": "coolable",
    "Toggleable": "toggleable",
    "Sliceable": "sliceable",
}
_MANGLED = (("|", "_bar_"), ("-", "_minus_"), ("+", "_plus_"), (".", "_dot_"))


def write_problem(wheel: Wheel, plan: FloorPlan, things: list[Thing], goal: GeneratedGoal, name: str) -> str:
    """The text of `pddl_problem`. The order of its facts is that of the arguments: same input, same bytes."""
    kinds = sorted({thing.kind for thing in things})
    facts: list[tuple[str, ...]] = []
    for receptacle in plan.receptacles:
        facts.append(("receptacleType", receptacle.id, f"{receptacle.kind}Type"))
        facts.append(("receptacleAtLocation", receptacle.id, receptacle.location))
        if receptacle.kind in _OPENABLE:
            facts.append(("openable", receptacle.id))
    for place in plan.kinds:
        fitting = [kind for kind in kinds if kind in wheel.fits[place]]
        facts += [("canContain", f"{place}Type", f"{kind}Type") for kind in fitting]
    for thing in things:
        facts += _facts_of(wheel, thing, goal)
    facts.append(("atLocation", "agent1", plan.start))
    locations = {receptacle.location for receptacle in plan.receptacles} | {plan.start}
    declarations = [
        "agent1 - agent",
        *(f"{kind}Type - otype" for kind in sorted({*kinds, *_NAMED_OBJECTS})),
        *(f"{kind}Type - rtype" for kind in sorted({*plan.kinds, *_NAMED_RECEPTACLES})),
        *(f"{_mangle(thing.id)} - object" for thing in things),
        *(f"{_mangle(receptacle.id)} - receptacle" for receptacle in plan.receptacles),
        *(f"{_mangle(location)} - location" for location in sorted(locations)),
    ]
    return (
        f"\n(define (problem {name})\n(:domain alfred)\n(:objects\n{_lines(declarations)})\n(:init\n"
        f"{_lines(_mangle('(' + ' '.join(fact) + ')') for fact in facts)})\n{goal.pddl(wheel)}"
    )


def _facts_of(wheel: Wheel, thing: Thing, goal: GeneratedGoal) -> list[tuple[str, ...]]:
    facts: list[tuple[str, ...]] = [
        ("objectType", thing.id, f"{thing.kind}Type"),
        ("inReceptacle", thing.id, thing.receptacle.id),
        ("objectAtLocation", thing.id, thing.receptacle.location),
    ]
    if thing.inside is not None:
        facts.append(("inReceptacleObject", thing.id, thing.inside))
    if thing.kind in wheel.movable_receptacles:
        facts.append(("isReceptacleObject", thing.id))
    if not thing.is_fixed:
        facts.append(("pickupable", thing.id))
    if thing.kind == goal.thing and thing.receptacle.kind == "Fridge" and goal.starts_cool:
        facts.append(("isCool", thing.id))
    facts += [(predicate, thing.id) for name, predicate in _PREDICATES.items() if thing.kind in wheel.properties[name]]
    return facts


def _mangle(text: str) -> str:
    for plain, mangled in _MANGLED:
        text = text.replace(plain, mangled)
    return text


def _lines(items: Iterable[str]) -> str:
    return "".join(f"        {item}\n" for item in items)
