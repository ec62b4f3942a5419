"""A person at the keyboard as a policy, and the same with a model that says what it would do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from duomem.device.agent.agent import MAX_STEPS, Agent, Episode
from duomem.device.agent.choice import Choice
from duomem.device.agent.policy import Policy
from duomem.device.agent.rollout import OnStep, ignore, rollout
from duomem.device.engine.session import ContextFull
from duomem.device.world.env import Observation
from duomem.device.world.game import Game
from duomem.device.world.worlds import load_world
from duomem.memory_packs.memory import Memory

PLAYER = "person"
"""Who played, in trajectories."""


@dataclass(frozen=True)
class Hint:
    """What a model would play, and why."""

    command: str
    choice: Choice | None


Ask = Callable[[Observation, Hint | None], str]
"""Asks the person for a command. Raises NoAnswer if they play no further."""


class PersonPolicy(Policy):
    """Plays what a person says. Its choices are those of the model that gives hints, if there is one."""

    def __init__(self, ask: Ask, hints: Policy | None = None) -> None:
        """hints: whose commands are shown and not played; closed by `close`. It gives none any more once its context is
        full.
        """
        self._ask = ask
        self._hints = hints
        self._full = False

    def act(self, observation: Observation, /) -> str:
        """The person's next command. Raises NoAnswer."""
        hint = self._hint(observation)
        if self._hints is not None:
            self.choice = hint.choice if hint and hint.choice else Choice((), (), 0.0, 0, 0)
        return self._ask(observation, hint)

    def _hint(self, observation: Observation) -> Hint | None:
        if self._hints is None or self._full:
            return None
        try:
            return Hint(self._hints.act(observation), self._hints.choice)
        except ContextFull:
            self._full = True
            return None

    def observe(self, command: str, observation: Observation, /) -> None:
        """Tell the model what was played, which may be another command than its own."""
        if self._hints is not None and not self._full:
            self._hints.observe(command, observation)

    def close(self) -> None:
        """Close the model's policy."""
        if self._hints is not None:
            self._hints.close()


def play_person(
    game: Game,
    ask: Ask,
    agent: Agent | None = None,
    split: str | None = None,
    max_steps: int = MAX_STEPS,
    world: str | None = None,
    on_start: Callable[[str, Sequence[Memory]], None] = lambda intro, memories: None,
    on_step: OnStep = ignore,
    on_second_look: Callable[[Sequence[Memory]], None] = lambda memories: None,
) -> Episode:
    """A person plays `game` to its end, or until they stop.

    agent: gives hints, and its memories are shown. world: as --world names it, the game's by default. The rest as in
    Agent.play.
    """
    started = time.perf_counter()
    env = load_world(world or game.world).make_env()
    observation = env.reset(game)
    shown: list[Memory] = []
    begun = False

    def look(memories: Sequence[Memory]) -> None:
        shown.extend(memories)
        if begun:
            on_second_look(memories)

    hints = None if agent is None else agent.policy(observation.text, game.digest, look)
    with contextlib.closing(PersonPolicy(ask, hints)) as policy:
        on_start(observation.text, tuple(shown))
        begun = True
        played = rollout(env, policy, observation, max_steps, on_step)
    trajectory = played.trajectory(game, split or game.split, PLAYER)
    return Episode(trajectory, tuple(shown), time.perf_counter() - started, played.ended, played.choices)
