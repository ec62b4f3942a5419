"""A student's own mistakes for a teacher to recover from: it plays first, the teacher takes over (DAgger).

After Ross et al. 2011; what the student played is seen in training and not learnt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from duomem.core.trajectory import NOTHING_HAPPENS, Step
from duomem.device.agent.agent import Agent
from duomem.device.alfworld.env import Observation
from duomem.device.engine.session import ContextFull

_HAND_OVER = 0.06
"""Chance at each step that the student leaves the rest to the teacher."""

_GIVE_UP = 0.5
"""The same after a command that did nothing."""


class DaggerPolicy:
    """The other hand of one episode, until it hands over."""

    def __init__(self, agent: Agent, intro: str, game: str, seed: str) -> None:
        """`game`: digest of the game, of which the student is shown no memory."""
        self._random = random.Random(seed)
        self._talk = agent.converse(intro, game)
        self._playing = True

    def act(self, steps: Sequence[Step], observation: Observation) -> str | None:
        """What the student plays now, None once the step is the teacher's, as all after it are."""
        stuck = bool(steps) and observation.text == NOTHING_HAPPENS
        if not self._playing or self._random.random() < (_GIVE_UP if stuck else _HAND_OVER):
            self._playing = False
            return None
        try:
            if steps:
                self._talk.observe(steps[-1].action, observation.text)
            return self._talk.act(observation)
        except ContextFull:
            self._playing = False
            return None

    def close(self) -> None:
        """Give the student's session back."""
        self._talk.close()
