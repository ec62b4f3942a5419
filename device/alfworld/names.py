"""What things are called: "Mug_bar__plus_02..." in a game file is "mug 2" to the player.

The numbering is the official one (alfworld's Demangler): per type, counting down in the order of the ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_MANGLED = (("_bar_", "|"), ("_minus_", "-"), ("_plus_", "+"), ("_dot_", "."), ("_comma_", ","))


def display_names(ids: Iterable[str]) -> dict[str, str]:
    """id -> name of every thing a game mentions. A thing without coordinates has no number, and its name
    ends in a space, as in the official engine.
    """
    names: dict[str, str] = {}
    ordered = sorted(ids)
    left = Counter(_stem(thing) for thing in ordered if "_bar_" in thing)
    for thing in ordered:
        if "_bar_" in thing:
            stem = _stem(thing)
            names[thing] = f"{stem} {left[stem]}"
            left[stem] -= 1
        else:
            names[thing] = _demangle(thing) + " "
    return names


def _stem(thing: str) -> str:
    stem = thing.split("_bar_", 1)[0]
    return stem + "basin" if "basin" in thing else stem


def _demangle(thing: str) -> str:
    for mangled, plain in _MANGLED:
        thing = thing.replace(mangled, plain)
    return thing
