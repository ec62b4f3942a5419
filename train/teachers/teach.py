"""`duomem teach`: the expert plays every game of a split into a trajectory file.

Parallel over cores, resumable, and the same bytes on every run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from duomem.core.errors import TrainError, UserError
from duomem.core.files import digest_of, sha256_input
from duomem.core.parallel import map_processes
from duomem.core.progress import progress
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.trajectory import Trajectory
from duomem.device.agent.agent import Agent
from duomem.device.agent.evaluate import EvalConfig, load_worker_agent
from duomem.device.agent.rollout import rollout
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.train.teachers.dagger import Dagger
from duomem.train.teachers.expert import REVISION, Expert, Priors
from duomem.train.teachers.noise import NoiseInjection
from duomem.train.teachers.priors import Counts, cached_priors, combine, count_places, save_priors

Item = TypeVar("Item")


@dataclass(frozen=True)
class _ExpertWorker:
    """Makes the worker of one of `processes` processes: the expert plays the game in a file. See `teach`."""

    priors: Priors
    split: str
    max_steps: int
    noise_rate: float
    seed: int
    student: EvalConfig | None
    processes: int

    def __call__(self) -> Callable[[Path], dict[str, Any]]:
        agent = load_worker_agent(self.student, self.processes) if self.student else None

        def play(path: Path) -> dict[str, Any]:
            game = load_game(path)
            return play_expert(
                game, self.priors, self.split, self.max_steps, self.noise_rate, self.seed, agent
            ).to_json()

        return play


def play_expert(
    game: Game,
    priors: Priors,
    split: str,
    max_steps: int,
    noise_rate: float = 0.0,
    seed: int = 0,
    agent: Agent | None = None,
) -> Trajectory:
    """One episode of the searching expert.

    noise_rate: chance of a step that it is a mistake to recover from. agent: plays first, until the expert takes
    over (DAgger), without further noise. Raises TrainError if the expert cannot read the goal.
    """
    env = AlfworldEnv()
    observation = env.reset(game)
    try:
        expert = Expert(observation.text, priors)
    except UserError as e:
        raise TrainError(f"{game.path}: {e}") from None
    draws = f"{seed}/{game.digest}"
    policy = (
        Dagger(agent.policy(observation.text, game.digest), expert, draws)
        if agent
        else NoiseInjection(expert, observation.text, noise_rate, draws, expert.goal.acts())
    )
    with contextlib.closing(policy):
        played = rollout(env, policy, observation, max_steps)
    return played.trajectory(game, split, f"expert/{REVISION}", seed)


def _make_place_counter() -> Callable[[Path], Counts]:
    return count_places


def learn_priors(games: list[Path], file: Path, jobs: int) -> dict[str, float]:
    """Priors from these *train* games, kept in `file`. Raises TrainError without games."""
    if not games:
        raise TrainError("no train games to learn the expert's priors from: see `duomem games list`")
    known = cached_priors(file, games)
    if known is not None:
        return known
    counts = map_processes(_make_place_counter, games, jobs)
    priors = combine(progress(counts, "priors", len(games), "game"))
    save_priors(file, games, priors)
    return priors


def teach(
    games: list[Path],
    split: str,
    priors: Priors,
    out: Path,
    jobs: int,
    max_steps: int,
    noise_rate: float = 0.0,
    seed: int = 0,
    student: EvalConfig | None = None,
) -> dict[str, int]:
    """Play `games` with the expert into the trajectory file `out`; returns {"games", "won", "steps"}.

    priors: see learn_priors. jobs: processes. noise_rate, seed: see play_expert. student: plays each game first,
    until the expert takes over.

    An interrupted run of the same inputs is resumed; a finished file is only counted. Raises TrainError.
    """
    inputs = {"split": split} | run_record(games, priors, max_steps, noise_rate, seed)
    if student:
        inputs["student"] = student.record()
    if not games:
        raise TrainError(f"no {split} games to play: see `duomem games list`")
    processes = max(1, min(jobs, len(games)))
    worker = _ExpertWorker(priors, split, max_steps, noise_rate, seed, student, processes)
    return write_episodes(out, inputs, games, worker, jobs)


def run_record(games: list[Path], priors: Priors, max_steps: int, noise_rate: float, seed: int) -> dict[str, Any]:
    """What the expert's episodes in `games` depend on, by content. Raises TrainError for a missing game."""
    return {
        "priors": digest_of(dict(priors)),
        "player": f"expert/{REVISION}",
        "max_steps": max_steps,
        "noise_rate": noise_rate,
        "seed": seed,
        "games": digest_of([sha256_input(g, "game") for g in games]),
    }


def write_episodes(
    out: Path,
    inputs: dict[str, Any],
    items: Sequence[Item],
    make_worker: Callable[[], Callable[[Item], dict[str, Any]]],
    jobs: int,
) -> dict[str, int]:
    """One line of `out` for each item, as the workers make it; returns {"games", "won", "steps"}.

    make_worker: see map_processes. An interrupted run of the same `inputs` is resumed.
    """
    with ResumableJsonl(out, inputs) as lines:
        if not lines.done:
            left = items[len(lines.rows) :]
            with progress(None, "teaching", len(items), "game", len(lines.rows)) as bar:
                for row in map_processes(make_worker, left, jobs):
                    lines.append(row)
                    bar.update(1)
            lines.finish()
        rows = lines.rows
        return {
            "games": len(rows),
            "won": sum(bool(r["won"]) for r in rows),
            "steps": sum(len(r["steps"]) for r in rows),
        }
