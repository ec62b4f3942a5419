"""Noise injection: now and then a wrong command is played, for the teacher to recover from.

The student sees mistake and recovery but learns only the recovery (after DAgger, Ross et al. 2011).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from duomem.core.scene import receptacles
from duomem.device.agent.policy import Policy
from duomem.device.world.env import Observation
from duomem.train.teachers.expert import kind

_MISSING = 0.4
"""Share of mistakes that go to an instance the scene does not have, a small student's commonest one."""

_REPEATED = 0.12
_HASTY = 0.25
"""Share of mistakes that do what the task needs where it cannot be done yet, the second commonest."""

_NEXT_MISSING = 0.35
"""Chance that a walk to a missing instance is followed by a walk to the next missing one."""


class NoiseInjection(Policy):
    """A policy of which some steps are mistakes instead; the same seed and game give the same ones."""

    def __init__(self, policy: Policy, intro: str, rate: float, seed: str, acts: Sequence[str]) -> None:
        """policy: closed by `close`. rate: chance that a step is a mistake, 0 for never. acts: what haste does, see
        GoalSpec.acts.
        """
        self._policy = policy
        self._acts = acts
        self._rate = rate
        self._random = random.Random(seed)
        self._last_number: dict[str, int] = {}
        for name in receptacles(intro):
            self._last_number[kind(name)] = max(self._last_number.get(kind(name), 0), int(name.rsplit(" ", 1)[1]))
        self._missing: tuple[str, int] | None = None
        self._commands: list[str] = []
        self.is_noise = False

    def act(self, observation: Observation, /) -> str:
        """A mistake, or the policy's command."""
        mistake = self._mistake(observation.admissible)
        command = self._policy.act(observation) if mistake is None else mistake
        self.is_noise = mistake is not None or self._policy.is_noise
        return command

    def observe(self, command: str, observation: Observation, /) -> None:
        """Tell the policy, of mistakes too."""
        self._commands.append(command)
        self._policy.observe(command, observation)

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()

    def _mistake(self, admissible: Sequence[str]) -> str | None:
        """The wrong command to play now, None for none."""
        if self._missing is not None and self._random.random() < _NEXT_MISSING:
            return self._go_to_missing(self._missing[0], self._missing[1] + 1)
        self._missing = None
        if self._random.random() >= self._rate:
            return None
        draw = self._random.random()
        if draw < _MISSING:
            return self._go_to_missing(*self._beyond_the_last())
        if draw < _MISSING + _REPEATED and self._commands:
            return self._commands[-1]
        hasty = [act for act in self._acts if act not in admissible]
        if draw < _MISSING + _REPEATED + _HASTY and hasty:
            return self._random.choice(hasty)
        return self._random.choice([c for c in admissible if c != "help"])

    def _beyond_the_last(self) -> tuple[str, int]:
        """A kind of receptacle, mostly the one last gone to, and a number past its last instance."""
        gone = [kind(c.removeprefix("go to ")) for c in self._commands if c.startswith("go to ")]
        same = gone and self._random.random() < 0.7
        place = gone[-1] if same else self._random.choice(sorted(self._last_number))
        return place, self._last_number[place] + (1 if self._random.random() < 0.8 else self._random.randint(2, 5))

    def _go_to_missing(self, place: str, number: int) -> str:
        self._missing = place, number
        return f"go to {place} {number}"
