"""DAgger: a student plays first and the teacher takes over, so that it recovers from the student's own mistakes.

After Ross et al. 2011. What the student played is seen in training and not learnt.
"""

from __future__ import annotations

import random

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.device.agent.policy import Policy
from duomem.device.engine.session import ContextFull
from duomem.device.world.env import Observation

_TAKE_OVER = 0.06
"""Chance at each step that the teacher takes over, for the rest of the episode."""

_TAKE_OVER_STUCK = 0.5
"""The same after a command that did nothing."""


class Dagger(Policy):
    """The student's policy until the teacher takes over; its steps are noise."""

    def __init__(self, student: Policy, teacher: Policy, seed: str) -> None:
        """student: closed by `close`. seed: the same one gives the same moments."""
        self._student = student
        self._teacher = teacher
        self._random = random.Random(seed)
        self.is_noise = True

    def act(self, observation: Observation, /) -> str:
        """The student's command, the teacher's once it has taken over."""
        if self.is_noise:
            stuck = observation.text == NOTHING_HAPPENS
            self.is_noise = self._random.random() >= (_TAKE_OVER_STUCK if stuck else _TAKE_OVER)
        if self.is_noise:
            try:
                return self._student.act(observation)
            except ContextFull:
                self.is_noise = False
        return self._teacher.act(observation)

    def observe(self, command: str, observation: Observation, /) -> None:
        """Tell the teacher; the student as long as it plays."""
        self._teacher.observe(command, observation)
        if self.is_noise:
            self._student.observe(command, observation)

    def close(self) -> None:
        """Close the student's policy."""
        self._student.close()
