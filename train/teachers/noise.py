"""Mistakes for a teacher to recover from: now and then another hand plays a wrong command.

The student sees mistake and recovery but learns only the recovery (after DAgger, Ross et al. 2011).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from duomem.core.trajectory import Step
from duomem.device.agent.exploration import receptacles
from duomem.device.alfworld.env import Observation
from duomem.train.teachers.expert import kind

_WALK_ON = 0.4
"""Share of mistakes that go to an instance the room does not have, a small student's commonest one."""

_REPEAT = 0.12
_HASTE = 0.25
"""Share of mistakes that do what the task needs where it cannot be done yet, the second commonest."""

_AGAIN = 0.35
"""Chance that a walk to a missing instance is followed by a walk to the next missing one."""


class NoiseInjector:
    """Draws the mistakes of one episode; the same seed and game give the same ones."""

    def __init__(self, intro: str, rate: float, seed: str, acts: Sequence[str]) -> None:
        """`rate`: chance that a step is a mistake, 0 for never; `acts`: what haste does, see GoalSpec.acts."""
        self._acts = acts
        self._rate = rate
        self._random = random.Random(seed)
        self._last_number: dict[str, int] = {}
        for name in receptacles(intro):
            self._last_number[kind(name)] = max(self._last_number.get(kind(name), 0), int(name.rsplit(" ", 1)[1]))
        self._missing: tuple[str, int] | None = None

    def act(self, steps: Sequence[Step], observation: Observation) -> str | None:
        """The wrong command to play now, None to leave the step to the teacher. `steps`: those played."""
        if self._missing is not None and self._random.random() < _AGAIN:
            return self._walk_on(self._missing[0], self._missing[1] + 1)
        self._missing = None
        if self._random.random() >= self._rate:
            return None
        commands, admissible = [step.action for step in steps], observation.admissible
        draw = self._random.random()
        if draw < _WALK_ON:
            return self._walk_on(*self._beyond(commands))
        if draw < _WALK_ON + _REPEAT and commands:
            return commands[-1]
        hasty = [act for act in self._acts if act not in admissible]
        if draw < _WALK_ON + _REPEAT + _HASTE and hasty:
            return self._random.choice(hasty)
        return self._random.choice([c for c in admissible if c != "help"])

    def close(self) -> None:
        """Nothing is held."""

    def _beyond(self, commands: Sequence[str]) -> tuple[str, int]:
        """A kind of receptacle, mostly the one last gone to, and a number past its last instance."""
        gone = [kind(c.removeprefix("go to ")) for c in commands if c.startswith("go to ")]
        same = gone and self._random.random() < 0.7
        place = gone[-1] if same else self._random.choice(sorted(self._last_number))
        return place, self._last_number[place] + (1 if self._random.random() < 0.8 else self._random.randint(2, 5))

    def _walk_on(self, place: str, number: int) -> str:
        self._missing = place, number
        return f"go to {place} {number}"
