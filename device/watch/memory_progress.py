"""How far an episode has followed a memory that it was shown, as far as its commands tell."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_STEP = re.compile(r"(?<=\s)[0-9]{1,3}\. ([^;]*);")
_NUMBER = re.compile(r" [0-9]+\b")
_LONGEST = 10_000
"""Characters of a memory that are shown."""


@dataclass(frozen=True)
class MemoryProgress:
    """A memory's title and steps. current: index of the step that comes next, the number of steps after the last."""

    title: str
    steps: tuple[str, ...]
    current: int = 0

    @classmethod
    def of(cls, text: str) -> MemoryProgress:
        """Of a memory as the student reads it: "put a mug in desk. 1. search shelf; 2. take mug from shelf; ..."."""
        text = text[:_LONGEST]
        steps = tuple(step.strip() for step in _STEP.findall(text))
        first = _STEP.search(text)
        return cls((text[: first.start()] if first else text).strip(), steps)

    def after(self, command: str) -> MemoryProgress:
        """The same after a command that did something. Places may be others than the memory's."""
        played = _comparable(command)
        for i in range(self.current, len(self.steps)):
            if _comparable(self.steps[i]) == played:
                return replace(self, current=i + 1)
            if played.startswith("go to ") and not self.steps[i].startswith("search "):
                break  # walking elsewhere is no later step of it
        return self


def _comparable(command: str) -> str:
    """Without numbers, and without where a thing lay."""
    return _NUMBER.sub("", command).split(" from ")[0]
