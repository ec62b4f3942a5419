"""What lies where at the start of a game: how many of each thing, and in which receptacle.

Weights are chosen so that generated scenes resemble the official train games (docs/alfworld.md).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from duomem.train.games.layouts import FloorPlan, Receptacle, coordinates
from duomem.train.games.wheel import Wheel

# How much a kind of receptacle draws the things that fit it, all receptacles of the kind together. In kinds
# not named here nothing lies at the start.
_ATTRACTION: Mapping[str, float] = {
    "CounterTop": 6,
    "DiningTable": 6,
    "CoffeeTable": 5,
    "Desk": 5,
    "Dresser": 3,
    "Bed": 7,
    "Sofa": 4,
    "SideTable": 2.5,
    "TVStand": 2.5,
    "ArmChair": 1.6,
    "Ottoman": 1.5,
    "Fridge": 4,
    "Cabinet": 5,
    "Drawer": 3.2,
    "Shelf": 3,
    "SinkBasin": 1.5,
    "Microwave": 1.5,
    "GarbageCan": 1.3,
    "StoveBurner": 20,
    "CoffeeMachine": 6,
    "Toilet": 3.5,
    "ToiletPaperHanger": 2.2,
    "BathtubBasin": 6,
    "Cart": 3,
    "Safe": 2,
    "TowelHolder": 100,
    "HandTowelHolder": 100,
}
# How many things a receptacle of a kind holds at most at the start.
_CAPACITY: Mapping[str, int] = {
    "CoffeeMachine": 1,
    "ToiletPaperHanger": 1,
    "TowelHolder": 1,
    "HandTowelHolder": 1,
    "StoveBurner": 1,
    "Microwave": 3,
    "Drawer": 4,
    "Cabinet": 4,
    "Safe": 3,
    "GarbageCan": 4,
    "ArmChair": 4,
    "SinkBasin": 6,
}
_CAPACITY_ELSE = 16
# How many of a thing a scene has (from, to), for those of which it has not 1 to 3.
_COUNT: Mapping[str, tuple[int, int]] = {
    "Bread": (1, 2),
    "Pan": (1, 2),
    "Pot": (1, 2),
    "Pillow": (1, 2),
    "Laptop": (1, 2),
    "Box": (1, 2),
    "Towel": (1, 2),
    "HandTowel": (1, 2),
    "DeskLamp": (1, 1),
    "TeddyBear": (1, 1),
    "HousePlant": (1, 1),
    "Television": (1, 1),
    "PaperTowelRoll": (1, 1),
}
# Things that only stand about: no player can put them anywhere, so the wheel does not say where they are.
_STANDS_ON: Mapping[str, tuple[str, ...]] = {
    "DeskLamp": ("Desk", "SideTable", "Dresser", "Shelf"),
    "TeddyBear": ("Bed",),
    "HousePlant": ("CounterTop", "SideTable", "DiningTable", "CoffeeTable", "Desk", "Dresser"),
    "Television": ("TVStand", "Dresser"),
    "PaperTowelRoll": ("CounterTop", "DiningTable", "Toilet"),
}
# Surfaces where more lies at the start than a player may put there: the surface they are like.
_LIKE: Mapping[str, str] = {"TVStand": "SideTable"}
# Things that lie on the floor in the official scenes, where no player can reach them.
_ON_THE_FLOOR = frozenset({"BaseballBat", "BasketBall", "Boots", "Plunger", "TennisRacket", "WateringCan"})
_FIXED = frozenset({"DeskLamp", "HousePlant", "Television"})  # cannot be picked up
_NESTED_SHARE = 0.25  # of the games have a thing lying in a bowl, pot, box, ...


@dataclass(frozen=True)
class Thing:
    """One object. id: "Mug|+00.95|+00.22|-02.20". inside: the movable receptacle (id) it lies in, if any."""

    id: str
    kind: str
    receptacle: Receptacle
    inside: str | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether it cannot be picked up."""
        return self.kind in _FIXED


def place_things(
    wheel: Wheel, plan: FloorPlan, target: str, at_least: int, avoid: str | None, rng: random.Random
) -> list[Thing]:
    """Fill a scene: of `target` there are `at_least` to 4, none of them in a receptacle of kind `avoid`."""
    used: Counter[str] = Counter()
    things: dict[str, Thing] = {}
    counts = {kind: rng.randint(*_COUNT.get(kind, (1, 3))) for kind in plan.object_types}
    counts[target] = max(at_least, *rng.choices((1, 2, 3, 4), (4, 3, 2, 1)))
    # The target goes first, so that others do not take up its space.
    for kind in sorted(counts, key=lambda kind: (kind != target, kind)):
        for _ in range(counts[kind]):
            places = [
                receptacle
                for receptacle in plan.receptacles
                if used[receptacle.id] < capacity(receptacle.kind)
                and receptacle.kind in places_for(wheel, plan, kind)
                and not (kind == target and receptacle.kind == avoid)
            ]
            if places:
                receptacle = _draw(places, rng)
                used[receptacle.id] += 1
                name = _new_id(kind, receptacle, things, rng)
                things[name] = Thing(name, kind, receptacle)
    if rng.random() < _NESTED_SHARE:
        _nest(wheel, things, target, rng)
    return list(things.values())


def places_for(wheel: Wheel, plan: FloorPlan, kind: str) -> list[str]:
    """The kinds of receptacle in a scene where things of `kind` may lie at the start."""
    if kind in _ON_THE_FLOOR:
        return []
    return [
        place
        for place in plan.kinds
        if place in _ATTRACTION and (kind in wheel.fits[_LIKE.get(place, place)] or place in _STANDS_ON.get(kind, ()))
    ]


def capacity(receptacle: str) -> int:
    """How many things a receptacle of this kind holds at most at the start."""
    return _CAPACITY.get(receptacle, _CAPACITY_ELSE)


def _draw(places: list[Receptacle], rng: random.Random) -> Receptacle:
    """A kind by its attraction, then any receptacle of the kind."""
    kinds = Counter(place.kind for place in places)
    return rng.choices(places, [_ATTRACTION[place.kind] / kinds[place.kind] for place in places])[0]


def _new_id(kind: str, receptacle: Receptacle, taken: Mapping[str, Thing], rng: random.Random) -> str:
    x, y, z = receptacle.position
    while True:
        aside, along = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
        name = f"{kind}|{coordinates(x + aside, y + rng.uniform(0, 0.6), z + along)}"
        if name not in taken:
            return name


def _nest(wheel: Wheel, things: dict[str, Thing], target: str, rng: random.Random) -> None:
    """Put one thing, not of the target's kind, into a movable receptacle beside it."""
    pairs = [
        (inner, outer)
        for inner in things.values()
        for outer in things.values()
        if inner.receptacle == outer.receptacle
        and inner.kind != target
        and inner.kind != outer.kind
        and outer.kind in wheel.movable_receptacles
        and inner.kind in wheel.fits[outer.kind]
    ]
    if pairs:
        inner, outer = rng.choice(pairs)
        things[inner.id] = Thing(inner.id, inner.kind, inner.receptacle, outer.id)
