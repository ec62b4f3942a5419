"""`duomem teach`: the expert plays every game of a split into a trajectory file.

Parallel over cores, resumable, and the same bytes on every run.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from duomem.core.errors import TrainError, UserError
from duomem.core.files import sha256_input
from duomem.core.parallel import Jobs, map_processes, process_count
from duomem.core.progress import progress
from duomem.core.reading import digest_of
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.trajectory import Trajectory, task_id
from duomem.device.agent.agent import Agent
from duomem.device.agent.evaluate import EvalConfig
from duomem.device.agent.policy import Policy
from duomem.device.agent.rollout import rollout
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.annotations import TEMPLATES, Goals, Task, told_record
from duomem.device.alfworld.game import Game
from duomem.memory_packs.lexicon import Utterance
from duomem.train.lexicon_folds import LexiconFolds
from duomem.train.teachers.dagger import Dagger
from duomem.train.teachers.expert import REVISION, Expert, Priors
from duomem.train.teachers.goal_spec import parse_goal
from duomem.train.teachers.misreading import Misreading, misread
from duomem.train.teachers.noise import NoiseInjection
from duomem.train.teachers.priors import Counts, cached_priors, combine, count_places, save_priors

Item = TypeVar("Item")


@dataclass(frozen=True)
class _ExpertWorker:
    """Makes the worker of one of `processes` processes: the expert plays a task. See `teach`."""

    priors: Priors
    split: str
    max_steps: int
    noise_rate: float
    seed: int
    student: EvalConfig | None
    misread_rate: float
    words: LexiconFolds | None
    processes: int

    def __call__(self) -> Callable[[Task], dict[str, Any]]:
        agent = self.student.load_player(self.processes) if self.student else None

        def play(task: Task) -> dict[str, Any]:
            return play_expert(
                task.load(),
                self.priors,
                self.split,
                self.max_steps,
                self.noise_rate,
                self.seed,
                agent,
                self.misread_rate,
                self.words,
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
    misread_rate: float = 0.0,
    words: LexiconFolds | None = None,
) -> Trajectory:
    """One episode of the searching expert. It reads the game's own goal sentence, whatever words the goal is told in.

    noise_rate: chance of a step that it is a mistake to recover from. agent: plays first, until the expert takes
    over (DAgger), without further noise. misread_rate: chance that the goal is first understood wrongly, as `words`
    suggest. Raises TrainError if the expert cannot read the goal.
    """
    env = AlfworldEnv()
    observation = env.reset(game)
    try:
        expert = Expert(observation.text, priors, parse_goal(game.template))
    except UserError as e:
        raise TrainError(f"{game.path}: {e}") from None
    draws = f"{seed}/{task_id(game.digest, game.goal_source)}"
    policy: Policy = expert
    rng = random.Random(f"{draws}/misread")
    if words and rng.random() < misread_rate:
        policy = Misreading(expert, misread(game, observation.text, words, rng))
    if agent:
        policy = Dagger(agent.policy(observation.text, game.digest), policy, draws)
    else:
        policy = NoiseInjection(policy, observation.text, noise_rate, draws, expert.goal.acts())
    with contextlib.closing(policy):
        played = rollout(env, policy, observation, max_steps)
    return played.trajectory(game, split, f"expert/{REVISION}", seed)


def _make_place_counter() -> Callable[[Path], Counts]:
    return count_places


def learn_priors(games: list[Path], file: Path, jobs: Jobs) -> dict[str, float]:
    """Priors from these *train* games, kept in `file`. Raises TrainError without games."""
    if not games:
        raise TrainError("no train games to learn the expert's priors from: see `duomem games list`")
    known = cached_priors(file, games)
    if known is not None:
        return known
    counts = map_processes(_make_place_counter, games, jobs)
    priors = combine(progress(counts, "priors", len(games), "games"))
    save_priors(file, games, priors)
    return priors


def teach(
    games: list[Path],
    split: str,
    priors: Priors,
    out: Path,
    jobs: Jobs,
    max_steps: int,
    noise_rate: float = 0.0,
    seed: int = 0,
    student: EvalConfig | None = None,
    goals: Goals = TEMPLATES,
    misread_rate: float = 0.0,
) -> dict[str, int]:
    """Play `games` with the expert into the trajectory file `out`; returns {"games", "won", "steps"}.

    priors: see learn_priors. jobs: processes, or a RayPool. noise_rate, seed, misread_rate: see play_expert. student:
    plays each game first, until the expert takes over. goals: the words that trajectories tell the goals in; the expert
    reads the games' own.

    An interrupted run of the same inputs is resumed; a finished file is only counted. Raises TrainError.
    """
    tasks = goals.tasks(games)
    inputs = {"split": split, **told_record(goals, tasks)} | run_record(games, priors, max_steps, noise_rate, seed)
    if misread_rate:
        inputs["misread_rate"] = misread_rate
    if student:
        inputs["student"] = student.record()
    if not games:
        raise TrainError(f"no {split} games to play: see `duomem games list`")
    processes = max(1, min(process_count(jobs), len(tasks)))
    words = LexiconFolds(_sentences(tasks)) if misread_rate else None
    worker = _ExpertWorker(priors, split, max_steps, noise_rate, seed, student, misread_rate, words, processes)
    return write_episodes(out, inputs, tasks, worker, jobs)


def _sentences(tasks: Sequence[Task]) -> Iterator[tuple[str, Utterance]]:
    """For LexiconFolds: the words of each task, and the game's own."""
    for task in tasks:
        game = task.load()
        group, meant = game.path.parent.parent.name, game.goal.triple
        places = tuple(sorted({game.receptacle_type[r].removesuffix("type") for r in game.receptacle_location}))
        yield group, (game.task, meant, places)
        yield group, (game.template, meant, places)


def run_record(games: list[Path], priors: Priors, max_steps: int, noise_rate: float, seed: int) -> dict[str, Any]:
    """What the expert's episodes in `games` depend on, by content. Raises TrainError for a missing game."""
    return {
        "priors": digest_of(dict(priors)) if priors else "none",
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
    jobs: Jobs,
) -> dict[str, int]:
    """One line of `out` for each item, as the workers make it; returns {"games", "won", "steps"}.

    make_worker: see map_processes. An interrupted run of the same `inputs` is resumed.
    """
    with ResumableJsonl(out, inputs) as lines:
        if not lines.done:
            left = items[len(lines.rows) :]
            with progress(None, "teaching", len(items), "games", len(lines.rows)) as bar:
                for row in map_processes(make_worker, left, jobs):
                    lines.append(row)
                    bar.update()
            lines.finish()
        rows = lines.rows
        return {
            "games": len(rows),
            "won": sum(bool(r["won"]) for r in rows),
            "steps": sum(len(r["steps"]) for r in rows),
        }
