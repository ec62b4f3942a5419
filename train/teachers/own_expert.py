"""`duomem teach --world NAME`: the expert that a world brings plays games of a split into a trajectory file.

ALFWorld's expert, with its priors and noise, is teach.py's.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.errors import TrainError
from duomem.core.files import sha256_input
from duomem.core.parallel import Jobs
from duomem.core.reading import digest_of
from duomem.core.trajectory import Trajectory
from duomem.device.agent.policy import Policy
from duomem.device.agent.rollout import rollout
from duomem.device.world.env import Observation
from duomem.device.world.game import Game
from duomem.device.world.world import World
from duomem.device.world.worlds import load_world
from duomem.train.teachers.teach import write_episodes

REVISION = 1


class RandomMistakes(Policy):
    """A policy some of whose steps are random admissible commands instead, from which it has to recover."""

    def __init__(self, policy: Policy, rate: float, seed: str) -> None:
        """policy: closed by `close`. rate: chance that a step is a mistake, 0 for never."""
        self._policy = policy
        self._rate = rate
        self._random = random.Random(seed)
        self.is_noise = False

    def act(self, observation: Observation, /) -> str:
        """A mistake, or the policy's command."""
        command = self._policy.act(observation)
        self.is_noise = self._random.random() < self._rate
        return self._random.choice(observation.admissible) if self.is_noise else command

    def observe(self, command: str, observation: Observation, /) -> None:
        """Tell the policy, of mistakes too."""
        self._policy.observe(command, observation)

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()


def play_own_expert(
    world: World, game: Game, split: str, max_steps: int, noise_rate: float = 0.0, seed: int = 0
) -> Trajectory:
    """One episode of the expert that `world` brings. noise_rate: chance that a step is a mistake to recover from."""
    env = world.make_env()
    observation = env.reset(game)
    expert = world.expert(game, observation.text)
    with contextlib.closing(RandomMistakes(expert, noise_rate, f"{seed}/{game.digest}")) as policy:
        played = rollout(env, policy, observation, max_steps)
    return played.trajectory(game, split, f"expert/{REVISION}", seed)


@dataclass(frozen=True)
class _Worker:
    """Makes a process's worker: the expert plays the game in a file."""

    world: str
    split: str
    max_steps: int
    noise_rate: float
    seed: int

    def __call__(self) -> Callable[[Path], dict[str, Any]]:
        world = load_world(self.world)

        def play(path: Path) -> dict[str, Any]:
            game = world.load_game(path)
            return play_own_expert(world, game, self.split, self.max_steps, self.noise_rate, self.seed).to_json()

        return play


def teach_own_expert(
    world: str,
    games: Sequence[Path],
    split: str,
    out: Path,
    jobs: Jobs,
    max_steps: int,
    noise_rate: float = 0.0,
    seed: int = 0,
) -> dict[str, int]:
    """Play `games` with the expert of `world` (see load_world) into the trajectory file `out`; returns {"games",
    "won", "steps"}. The other parameters and resuming are as in `teach`. Raises GameError, TrainError.
    """
    if not games:
        raise TrainError(f"no {split} games of {world} to play")
    inputs = {
        "world": load_world(world).name,
        "split": split,
        "player": f"expert/{REVISION}",
        "max_steps": max_steps,
        "noise_rate": noise_rate,
        "seed": seed,
        "games": digest_of([sha256_input(game, "game") for game in games]),
    }
    return write_episodes(out, inputs, games, _Worker(world, split, max_steps, noise_rate, seed), jobs)
