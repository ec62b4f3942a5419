"""Mistakes for a teacher to recover from: now and then another hand plays a wrong command.

The student sees mistake and recovery but learns only the recovery (after DAgger, Ross et al. 2011).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from duomem.base.trajectory import Step
from duomem.device.alfworld.world import Observation
from duomem.device.room import receptacles
from duomem.train.teachers.expert import kind

_WALK_ON = 0.4
"""Share of mistakes that go to an instance the room does not have, a small student's commonest one."""

_REPEAT = 0.12
_HASTE = 0.25
"""Share of mistakes that do what the task needs where it cannot be done yet, the second commonest."""

_AGAIN = 0.35
"""Chance that a mistake of the first two kinds is followed by another one like it."""

_RUT = 0.2
"""Share of these that are a rut of many steps, which a small student does not leave by itself."""

_RUT_STEPS = (3, 12)
_COUNTS = 0.7
"""Chance that the next walk to a missing instance is to the next one, not to the same."""


class Stumbler:
    """Draws the mistakes of one episode; the same seed and game give the same ones."""

    def __init__(self, intro: str, rate: float, seed: str, acts: Sequence[str]) -> None:
        """`rate`: chance that a step is a mistake, 0 for never; `acts`: what haste does, see Goal.acts."""
        self._acts = acts
        self._rate = rate
        self._random = random.Random(seed)
        self._last_number: dict[str, int] = {}
        for name in receptacles(intro):
            self._last_number[kind(name)] = max(self._last_number.get(kind(name), 0), int(name.rsplit(" ", 1)[1]))
        self._ahead: list[str] = []

    def mistake(self, steps: Sequence[Step], observation: Observation) -> str | None:
        """The wrong command to play now, None to leave the step to the teacher. `steps`: those played."""
        if not self._ahead:
            if self._random.random() >= self._rate:
                return None
            self._ahead = self._draw([step.action for step in steps], observation.admissible)
        return self._ahead.pop(0)

    def _draw(self, commands: Sequence[str], admissible: Sequence[str]) -> list[str]:
        draw = self._random.random()
        if draw < _WALK_ON:
            return self._walk_on(commands)
        if draw < _WALK_ON + _REPEAT and commands:
            length = self._length()
            return ([*commands[-2:]] * length)[-length:]
        hasty = [act for act in self._acts if act not in admissible]
        if draw < _WALK_ON + _REPEAT + _HASTE and hasty:
            return [self._random.choice(hasty)]
        return [self._random.choice([c for c in admissible if c != "help"])]

    def _length(self) -> int:
        if self._random.random() < _RUT:
            return self._random.randint(*_RUT_STEPS)
        length = 1
        while self._random.random() < _AGAIN:
            length += 1
        return length

    def close(self) -> None:
        """Nothing is held."""

    def _walk_on(self, commands: Sequence[str]) -> list[str]:
        """Walks to instances past the last one of a kind of receptacle, mostly the one last gone to."""
        gone = [kind(c.removeprefix("go to ")) for c in commands if c.startswith("go to ")]
        same = gone and self._random.random() < 0.7
        place = gone[-1] if same else self._random.choice(sorted(self._last_number))
        number = self._last_number[place] + (1 if self._random.random() < 0.8 else self._random.randint(2, 5))
        walks = []
        for _ in range(self._length()):
            walks.append(f"go to {place} {number}")
            number += self._random.random() < _COUNTS
        return walks
