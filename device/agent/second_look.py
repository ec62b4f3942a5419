"""A second look into memory: an episode that is not won after a while goes on with memories of other goals on top.

A sentence may mean another goal than the likeliest ones, whose memories are shown first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from duomem.device.agent.policy import Policy
from duomem.device.world.env import Observation

AFTER = 20
"""Steps before it. Of the episodes that a student wins, 97 % on held-out floor plans of train are won sooner."""

Turn = tuple[str, Observation]
"""A command and what it brought."""


class SecondLook(Policy):
    """Two policies after another, the second of which is made with what the first one played."""

    def __init__(self, first: Policy, again: Callable[[Sequence[Turn]], Policy], after: int = AFTER) -> None:
        """first: closed when it is left, or by `close`. again: makes the second policy from all turns so far.
        after: steps of the first one.
        """
        self._policy = first
        self._again = again
        self._after = after
        self._turns: list[Turn] = []
        self._closed = False

    def act(self, observation: Observation, /) -> str:
        """The command of the policy whose turn it is. Raises ContextFull."""
        if len(self._turns) == self._after:
            self.close()  # first: an engine has few sessions
            self._policy = self._again(self._turns)
            self._closed = False
        command = self._policy.act(observation)
        self.choice = self._policy.choice
        return command

    def observe(self, command: str, observation: Observation, /) -> None:
        """Note what `command` brought."""
        self._turns.append((command, observation))
        self._policy.observe(command, observation)

    def close(self) -> None:
        """Close the policy whose turn it is."""
        if not self._closed:
            self._policy.close()
            self._closed = True
