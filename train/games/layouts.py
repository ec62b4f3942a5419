"""Floor plans: which receptacles stand in a scene, where the player stands to use them, what lies about.

The wheel's layouts list only receptacles with a tested viewpoint; the rest of the furniture is added here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from duomem.train.games.wheel import Wheel

# Floor plans of the official split of unseen scenes: in no official train game, and in no generated one, so
# that a student trained on generated games may be tested on the official unseen ones.
UNSEEN_PLANS = frozenset({9, 10, 29, 215, 219, 226, 308, 315, 325, 404, 424, 425})

# Furniture that scenes have but layouts leave out: how many (from, to). One, for types not named here.
_USUAL_COUNT: Mapping[str, tuple[int, int]] = {
    "StoveBurner": (4, 4),
    "TowelHolder": (1, 2),
    "HandTowelHolder": (1, 2),
    "Shelf": (1, 3),
    "Drawer": (1, 4),
}
# Further cabinets and drawers, beyond those listed, in scenes that have some (from, to).
_FURTHER: Mapping[str, tuple[int, int]] = {"Cabinet": (0, 4), "Drawer": (0, 2)}
_STEP = 0.25  # metres in one unit of a location's coordinates


@dataclass(frozen=True)
class Receptacle:
    """id: "Drawer|+00.95|+00.22|-02.20". kind: "Drawer". location: "loc|6|-4|2|30"."""

    id: str
    kind: str
    location: str

    @property
    def position(self) -> tuple[float, float, float]:
        """x, height, z in metres."""
        x, y, z = self.id.split("|")[1:4]
        return float(x), float(y), float(z)


@dataclass(frozen=True)
class FloorPlan:
    """One scene. object_types: types of what it holds besides its receptacles, sorted."""

    number: int
    receptacles: tuple[Receptacle, ...]
    object_types: tuple[str, ...]
    start: str

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Receptacle types in the scene, sorted, without duplicates."""
        return tuple(sorted({receptacle.kind for receptacle in self.receptacles}))


def plans_of(wheel: Wheel, split: str) -> list[FloorPlan]:
    """The floor plans games of a split are set in, by number: train and valid_seen share theirs."""
    numbers = [number for plans in wheel.floor_plans.values() for number in plans]
    return [
        read_plan(wheel, number) for number in sorted(numbers) if (number in UNSEEN_PLANS) == (split == "valid_unseen")
    ]


def read_plan(wheel: Wheel, number: int) -> FloorPlan:
    """One floor plan, furnished. The same every time: nothing here depends on a game's seed."""
    rng = random.Random(f"floor plan {number}")
    views, types = wheel.layout(number)
    static = set(wheel.fits) - wheel.movable_receptacles
    found = [Receptacle(*_id_and_kind(name), _location(*view)) for name, view in sorted(views.items())]
    free = _FreeLocations({receptacle.location for receptacle in found}, rng)
    for kind in sorted(static & set(types) - {receptacle.kind for receptacle in found}):
        found += _more(kind, rng.randint(*_USUAL_COUNT.get(kind, (1, 1))), free, rng)
    for kind, (low, high) in _FURTHER.items():
        if any(receptacle.kind == kind for receptacle in found):
            found += _more(kind, rng.randint(low, high), free, rng)
    others = tuple(kind for kind in types if kind not in static)
    return FloorPlan(number, tuple(found), others, free.next())


def coordinates(x: float, y: float, z: float) -> str:
    """Metres as they stand in an id: "+00.95|+00.22|-02.20"."""
    return "|".join(f"{value:+06.2f}" for value in (x, y, z))


def _id_and_kind(name: str) -> tuple[str, str]:
    """Sinks and bathtubs are used by their basins, which the id names last."""
    kind, *position = name.split("|")[:4]
    if kind in ("Sink", "Bathtub"):
        return "|".join((kind, *position, f"{kind}Basin")), f"{kind}Basin"
    return "|".join((kind, *position)), kind


def _location(x: float, z: float, rotation: float, horizon: float) -> str:
    return f"loc|{round(x / _STEP)}|{round(z / _STEP)}|{round(rotation / 90) % 4}|{round(horizon)}"


class _FreeLocations:
    """Locations of a scene where no receptacle is used yet."""

    def __init__(self, taken: set[str], rng: random.Random) -> None:
        self._taken, self._rng = taken, rng

    def next(self) -> str:
        """One of them, taken now."""
        while True:
            x, z = (self._rng.randint(-12, 12) * _STEP for _ in "xz")
            location = _location(x, z, 90 * self._rng.randrange(4), 30)
            if location not in self._taken:
                self._taken.add(location)
                return location


def _more(kind: str, count: int, free: _FreeLocations, rng: random.Random) -> list[Receptacle]:
    """`count` receptacles of a kind at new places; stove burners are reached two by two, as in the official scenes."""
    added: list[Receptacle] = []
    for index in range(count):
        location = added[-1].location if kind == "StoveBurner" and index % 2 else free.next()
        name = f"{kind.removesuffix('Basin')}|{coordinates(*(rng.uniform(-3, 3) for _ in 'xyz'))}"
        added.append(Receptacle(*_id_and_kind(name), location))
    return added
