"""The Policy contract: whoever chooses the commands of one episode, from what a player is told.

The compiled model, the expert and whatever wraps them keep it; a model that is waited for keeps AsyncPolicy. rollout.py
runs both.
"""

from __future__ import annotations

from typing import Protocol

from duomem.device.agent.choice import Choice
from duomem.device.world.env import Observation


class Policy(Protocol):
    """One episode's policy, made for the game's first observation.

    is_noise: whether the command `act` gave last is a mistake to recover from, which nobody is to learn. thought: what
    it says it thought before that command. choice: why it is that one, None if it cannot tell.
    """

    is_noise: bool = False
    thought: str = ""
    choice: Choice | None = None

    def act(self, observation: Observation, /) -> str:
        """The next command. observation: what the last command brought, at first the game's intro.

        Raises ContextFull if the policy's context has no room for it, NoAnswer if no command is to be had: the episode
        ends there.
        """
        ...

    def observe(self, command: str, observation: Observation, /) -> None:
        """Note what `command`, the policy's own or that of a policy around it, brought."""
        ...

    def close(self) -> None:
        """Release what the policy holds; most hold nothing."""


class AsyncPolicy(Protocol):
    """As Policy, for one whose commands are waited for while other episodes go on."""

    is_noise: bool = False
    thought: str = ""
    choice: Choice | None = None

    async def act(self, observation: Observation, /) -> str:
        """As Policy.act."""
        ...

    def observe(self, command: str, observation: Observation, /) -> None:
        """As Policy.observe."""
        ...
