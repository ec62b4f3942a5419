"""A scene: its receptacles and their kinds as an episode's first observation lists them, and its floor plan.

Read from what the player itself is told, and from the name of a game's folder; no game file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LISTED = re.compile(r"you see (an? [^.\n]*)\.")
_SEPARATOR = re.compile(r", and an? |, an? |,? and an? ")


def receptacles(intro: str) -> list[str]:
    """The receptacles an intro lists, in its order: ["cabinet 2", "cabinet 1", "fridge 1"]."""
    match = _LISTED.search(intro)
    if match is None:
        return []
    return [name.strip() for name in _SEPARATOR.split(match.group(1)[2:].lstrip())]


def kinds_of(places: Sequence[str]) -> tuple[str, ...]:
    """The kinds of places, each once, in order: ("cabinet", "fridge")."""
    return tuple(dict.fromkeys(name.rpartition(" ")[0] for name in places))


def floor_plan(group: str) -> str:
    """The floor plan's number in a task-and-scene name: "301" of "pick_and_place_simple-Mug-None-Desk-301"."""
    return group.rpartition("-")[2]


def runs(numbers: Sequence[int]) -> str:
    """Rising numbers, those that follow each other together: "1-3+5"."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return "+".join(f"{a}-{b}" if b > a else f"{a}" for a, b in parts)
