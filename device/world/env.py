"""The Env contract: reset a game, step it with text commands; clone it and tell states apart, where that is needed.

Every world has an engine that keeps it. On a host, train/ has ALFWorld's official engine behind the same contract, with
the same text, and synthetic tasks in a game's scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Observation:
    """What a player sees after a reset or a step.

    text: the engine's feedback, exactly as the world's own engine prints it, stripped of outer whitespace.
    admissible: the commands that do something now, sorted, without duplicates.
    done: the episode is over (won). won: the goal is reached.
    """

    text: str
    admissible: tuple[str, ...]
    done: bool
    won: bool


class Env(Protocol):
    """One game at a time; reset may be called again for the same or another game."""

    def reset(self, game: Any) -> Observation:
        """Start `game`, one of this world's; the observation's text is the intro with the goal sentence."""
        ...

    def step(self, command: str) -> Observation:
        """Play one command. An unknown or inapplicable one gives "Nothing happens." and costs a step."""
        ...


class ForkableEnv(Env, Protocol):
    """An Env whose state can be copied and told apart, for search and reinforcement learning. Playing needs neither."""

    def clone(self) -> ForkableEnv:
        """Another env in the same state; each is then stepped without a change to the other."""
        ...

    @property
    def state_id(self) -> str:
        """A digest of the game and the engine's state, in hex: equal for equal states, and for no others."""
        ...
