"""A scene as an episode's first observation lists it: its receptacles, and which were not looked into yet.

Everything here is read from what the player itself was told; no game file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from duomem.core.errors import GameError
from duomem.core.scene import receptacles, runs
from duomem.device.world.novelty import NoveltyTracker

_INSTANCE = re.compile(r"[0-9]{1,6}")
_LOOKED = re.compile(r"(?:go to|open|examine) (.+)")


def summary(places: Sequence[str]) -> str:
    """Places as instance ranges: "cabinet 1-6, fridge 1". Raises GameError for names without a number."""
    numbers: dict[str, list[int]] = {}
    for name in places:
        kind, _, number = name.rpartition(" ")
        if not _INSTANCE.fullmatch(number):
            raise GameError(f"the game's intro lists {name[:80]!r}, a place without a number: not an ALFWorld game")
        numbers.setdefault(kind, []).append(int(number))
    return ", ".join(f"{kind} {runs(sorted(found))}" for kind, found in numbers.items())


class ExplorationTracker:
    """What one episode has looked into, followed by its own commands and observations."""

    def __init__(self, intro: str) -> None:
        self._unseen = receptacles(intro)
        self._novelty = NoveltyTracker()

    def observe(self, command: str, text: str) -> str:
        """Note a command and the observation after it.

        Returns a reminder where the observation says nothing new, of the places not looked into yet: "Not seen
        yet: cabinet 3-6, drawer 1."; otherwise "".
        """
        looked = _LOOKED.fullmatch(command)
        if looked is not None and looked[1] in self._unseen and "you see" in text:
            self._unseen.remove(looked[1])
        if self._novelty.observe(text) or not self._unseen:
            return ""
        return f"Not seen yet: {summary(self._unseen)}."
