"""The baselines without a model as players of a split: what `evaluate` and `duomem compare` play beside students.

They play by a student's rules: the same games and steps, and never a memory of the game that is played.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.trajectory import task_id
from duomem.device.agent.action_filter import ActionFilter
from duomem.device.agent.agent import MAX_STEPS, Episode, pack_for
from duomem.device.agent.baselines import MatcherPolicy, RandomPolicy
from duomem.device.agent.policy import Policy
from duomem.device.agent.recall import recall
from duomem.device.agent.rollout import rollout
from duomem.device.alfworld.annotations import TEMPLATES, Goals
from duomem.device.world.game import Game
from duomem.device.world.world import World
from duomem.device.world.worlds import load_world, world_record
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import MAX_MEMORIES, Retriever

MakePolicy = Callable[[Game, str, Sequence[Memory]], Policy]
"""(game, intro, memories for it) -> the policy of one episode."""


class BaselinePlayer:
    """Plays episodes without a model: no token is prefilled or decoded."""

    def __init__(
        self,
        name: str,
        make_policy: MakePolicy,
        world: World,
        max_steps: int = MAX_STEPS,
        retriever: Retriever | None = None,
        k: int = MAX_MEMORIES,
    ) -> None:
        """name: the player's, in trajectories. world: whose games are played. max_steps: most steps an episode.
        retriever: of the memories it follows, None for none. k: memories an episode.
        """
        self._name = name
        self._make_policy = make_policy
        self._world = world
        self._max_steps = max_steps
        self._retriever = retriever
        self._k = k

    def play(self, game: Game, split: str | None = None, /) -> Episode:
        """Play `game` to the end. split: see Agent.play."""
        started = time.perf_counter()
        env = self._world.make_env()
        observation = env.reset(game)
        memories = recall(self._retriever, observation.text, self._k, game.digest, world=self._world)
        policy = self._make_policy(game, observation.text, memories)
        played = rollout(env, policy, observation, self._max_steps)
        trajectory = played.trajectory(game, split or game.split, self._name)
        return Episode(trajectory, memories, time.perf_counter() - started, played.ended)


@dataclass(frozen=True)
class RandomConfig:
    """An evaluation of RandomPolicy. seed: of the draws. max_steps: most steps of an episode. action_filter: whether
    no-op and repeated commands are withheld. goals: the words that tell the games' goals, which it does not read.
    world: name of the games' world.
    """

    seed: int = 0
    max_steps: int = MAX_STEPS
    action_filter: bool = False
    goals: Goals = TEMPLATES
    world: str = DEFAULT_WORLD
    label = "random"
    pack = None

    def record(self) -> dict[str, Any]:
        """What identifies it."""
        return {
            "baseline": self.label,
            "seed": self.seed,
            "max_steps": self.max_steps,
            "action_filter": self.action_filter,
            **world_record(self.world),
        }

    def load_player(self, processes: int = 1) -> BaselinePlayer:
        """The player. processes: of no use here."""

        def make(game: Game, intro: str, memories: Sequence[Memory]) -> Policy:
            seed = f"{self.seed}/{task_id(game.digest, game.goal_source)}"
            return RandomPolicy(seed, ActionFilter(intro) if self.action_filter else None)

        return BaselinePlayer(self.label, make, load_world(self.world), self.max_steps)


@dataclass(frozen=True)
class MatcherConfig:
    """An evaluation of MatcherPolicy. pack: the memories it follows. k: memories of an episode. The rest as in
    RandomConfig.
    """

    pack: Path
    k: int = MAX_MEMORIES
    max_steps: int = MAX_STEPS
    action_filter: bool = False
    goals: Goals = TEMPLATES
    world: str = DEFAULT_WORLD
    label = "matcher"

    def record(self) -> dict[str, Any]:
        """What identifies it, by content. Raises UserError for a missing pack."""
        return {
            "baseline": self.label,
            "pack": read_pack(self.pack).content_digest,
            "k": self.k,
            "max_steps": self.max_steps,
            "action_filter": self.action_filter,
            **world_record(self.world),
        }

    def load_player(self, processes: int = 1) -> BaselinePlayer:
        """The player. processes: of no use here. Raises PackError."""

        def make(game: Game, intro: str, memories: Sequence[Memory]) -> Policy:
            return MatcherPolicy(intro, memories, ActionFilter(intro) if self.action_filter else None, world)

        world = load_world(self.world)
        pack = pack_for(world, self.pack)
        name = f"{self.label}:{pack.content_digest[:12]}"
        return BaselinePlayer(name, make, world, self.max_steps, pack.retriever, self.k)
