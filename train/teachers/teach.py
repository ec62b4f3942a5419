"""`duomem teach`: the expert plays every game of a split and leaves a trajectory file.

Parallel over cores, resumable, and the same bytes on every run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from duomem.core.errors import TrainError, UserError
from duomem.core.files import digest_of, sha256_input
from duomem.core.parallel import map_processes
from duomem.core.progress import progress
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.trajectory import Step, Trajectory
from duomem.device.agent.agent import Agent
from duomem.device.agent.evaluate import EvalConfig, load_worker_agent
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.env import Env, Observation
from duomem.device.alfworld.game import Game, load_game
from duomem.train.teachers.dagger import DaggerPolicy
from duomem.train.teachers.expert import REVISION, Expert, Priors
from duomem.train.teachers.noise import NoiseInjector
from duomem.train.teachers.priors import cached_priors, combine, count_places, save_priors

Item = TypeVar("Item")

_priors: Priors = {}
_split = ""
_max_steps = 0
_noise_rate = 0.0
_seed = 0
_agent: Agent | None = None


def _setup(
    priors: Priors, split: str, max_steps: int, noise_rate: float, seed: int, student: EvalConfig | None, processes: int
) -> None:
    global _priors, _split, _max_steps, _noise_rate, _seed, _agent
    _priors, _split, _max_steps, _noise_rate, _seed = priors, split, max_steps, noise_rate, seed
    _agent = load_worker_agent(student, processes) if student else None


def _setup_nothing() -> None:
    pass


def _play(path: Path) -> dict[str, Any]:
    return play_expert(load_game(path), _priors, _split, _max_steps, _noise_rate, _seed, _agent).to_json()


def play_expert(
    game: Game,
    priors: Priors,
    split: str,
    max_steps: int,
    noise_rate: float = 0.0,
    seed: int = 0,
    agent: Agent | None = None,
) -> Trajectory:
    """One episode of the searching expert, tripped up at `stumble_rate` of its steps, or begun by the student that
    `agent` plays. Raises TrainError if it cannot read the goal.
    """
    env = AlfworldEnv()
    observation = env.reset(game)
    intro = observation.text
    try:
        expert = Expert(intro, priors)
    except UserError as e:
        raise TrainError(f"{game.path}: {e}") from None
    draw = f"{seed}/{game.digest}"
    policy = (
        DaggerPolicy(agent, intro, game.digest, draw)
        if agent
        else NoiseInjector(intro, noise_rate, draw, expert.goal.acts())
    )
    with contextlib.closing(policy):
        steps, last = play_steps(env, observation, expert, policy, max_steps)
    return Trajectory(
        game.digest,
        game.path.parent.parent.name,
        split,
        game.task_type,
        game.task,
        intro,
        steps,
        last.text,
        last.won,
        f"expert/{REVISION}",
        seed,
    )


def play_steps(
    env: Env,
    observation: Observation,
    expert: Expert,
    policy: NoiseInjector | DaggerPolicy,
    max_steps: int,
    before_step: Callable[[], None] = lambda: None,
) -> tuple[tuple[Step, ...], Observation]:
    """The expert's steps from `observation` on, some of them the other hand's, and what the last one brought."""
    steps: list[Step] = []
    while len(steps) < max_steps and not observation.done:
        before_step()
        act = policy.act(steps, observation)
        command = expert.act() if act is None else act
        steps.append(Step(observation.text, observation.admissible, command, act is not None))
        observation = env.step(command)
        expert.observe(command, observation.text)
    return tuple(steps), observation


def learn_priors(games: list[Path], file: Path, jobs: int) -> dict[str, float]:
    """Priors from these *train* games, kept in `file`. Raises TrainError without games."""
    if not games:
        raise TrainError("no train games to learn the expert's priors from: see `duomem games`")
    known = cached_priors(file, games)
    if known is not None:
        return known
    counts = map_processes(count_places, games, jobs, _setup_nothing)
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
    """Play `games` with the expert into the trajectory file `out`; returns {"games", "won", "steps"}. A `student`
    begins each of them until it hands over.

    An interrupted run of the same inputs is resumed; a finished file is only counted. Raises TrainError.
    """
    inputs = {"split": split} | run_record(games, priors, max_steps, noise_rate, seed)
    if student:
        inputs["student"] = student.record()
    if not games:
        raise TrainError(f"no {split} games to play: see `duomem games`")
    return write_episodes(
        out,
        inputs,
        games,
        _play,
        jobs,
        _setup,
        (priors, split, max_steps, noise_rate, seed, student, max(1, min(jobs, len(games)))),
    )


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
    play: Callable[[Item], dict[str, Any]],
    jobs: int,
    setup: Callable[..., None],
    arguments: tuple[Any, ...],
) -> dict[str, int]:
    """One line of `out` for each item, as `play` makes it in processes prepared by `setup(*arguments)`; returns
    {"games", "won", "steps"}. An interrupted run of the same `inputs` is resumed.
    """
    with ResumableJsonl(out, inputs) as lines:
        if not lines.done:
            left = items[len(lines.rows) :]
            with progress(None, "teaching", len(items), "game", len(lines.rows)) as bar:
                for row in map_processes(play, left, jobs, setup, arguments):
                    lines.append(row)
                    bar.update(1)
            lines.finish()
        rows = lines.rows
        return {
            "games": len(rows),
            "won": sum(bool(r["won"]) for r in rows),
            "steps": sum(len(r["steps"]) for r in rows),
        }
