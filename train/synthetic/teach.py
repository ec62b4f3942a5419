"""`duomem teach --synthetic N`: the expert solves synthetic tasks in the scenes of train games.

Episode i depends on the seed, the games and i alone: a file can be interrupted, and a longer one begins alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from duomem.core.errors import TrainError
from duomem.core.parallel import Jobs
from duomem.core.scene import floor_plan
from duomem.core.trajectory import TRAIN_SPLIT
from duomem.device.agent.policy import Policy
from duomem.device.agent.rollout import Rollout, rollout
from duomem.device.alfworld.game import Game, load_game
from duomem.device.world.env import Observation
from duomem.train.synthetic.env import SyntheticEnv
from duomem.train.synthetic.task import TASK_TYPE, Scene, SyntheticTask, TaskTemplate, make_template, scene_of
from duomem.train.teachers.expert import REVISION, Expert, Priors
from duomem.train.teachers.noise import NoiseInjection
from duomem.train.teachers.teach import run_record, write_episodes

_COPIES = 4
"""Episodes of each template, in as many scenes: a memory of one tells how the others are solved."""

_TRIES = 60

_SALT = "invented"
"""In the seed of a template's draws; another word draws other tasks."""


class _Scenes:
    """The scenes of games by number, each read once."""

    def __init__(self, games: Sequence[Path]) -> None:
        self._games = games
        self._read: dict[int, tuple[Game, Scene]] = {}

    def __len__(self) -> int:
        return len(self._games)

    def __getitem__(self, number: int) -> tuple[Game, Scene]:
        if number not in self._read:
            game = load_game(self._games[number])
            self._read[number] = game, scene_of(game)
        return self._read[number]


@dataclass(frozen=True)
class _SyntheticWorker:
    """Makes a process's worker: the expert plays the episode of a number. See `teach_synthetic`."""

    games: Sequence[Path]
    priors: Priors
    max_steps: int
    noise_rate: float
    seed: int

    def __call__(self) -> Callable[[int], dict[str, Any]]:
        scenes = _Scenes(self.games)

        def play(number: int) -> dict[str, Any]:
            template, copy = divmod(number, _COPIES)
            game, task = _place(scenes, random.Random(f"{self.seed}/{_SALT}/{template}"), copy)
            draws = f"{self.seed}/{number}"
            played = _play(game, task, self.priors, self.max_steps, self.noise_rate, draws)
            task_type = f"{TASK_TYPE}{template}"
            trajectory = replace(
                played.trajectory(game, TRAIN_SPLIT, f"expert/{REVISION}", self.seed),
                group=f"{task_type}-{floor_plan(game.path.parent.parent.name)}",
                task_type=task_type,
                object_type="",
                target_type="",
                goal=task.sentence,
                template_goal=task.sentence,
            )
            return trajectory.to_json()

        return play


class _GoalByGoal(Policy):
    """The expert at the goals of a synthetic task, one after another as they are reached."""

    def __init__(self, env: SyntheticEnv, task: SyntheticTask, intro: str, priors: Priors) -> None:
        self._env = env
        self._goals = task.goals
        self._expert = Expert(intro, priors, task.goals[0])

    def act(self, observation: Observation, /) -> str:
        """The expert's command."""
        return self._expert.act(observation)

    def observe(self, command: str, observation: Observation, /) -> None:
        """Tell the expert, and the next goal with it where one is reached."""
        self._expert.observe(command, observation)
        if self._env.reached < len(self._goals):
            self._expert.pursue(self._goals[self._env.reached])


def _play(game: Game, task: SyntheticTask, priors: Priors, max_steps: int, noise_rate: float, draws: str) -> Rollout:
    """The expert at a synthetic task: it knows the goals, a student has a memory. draws: seed of the noise."""
    env = SyntheticEnv(task)
    observation = env.reset(game)
    acts = [act for goal in task.goals for act in goal.acts()]
    expert = _GoalByGoal(env, task, observation.text, priors)
    return rollout(env, NoiseInjection(expert, observation.text, noise_rate, draws, acts), observation, max_steps)


def _place(scenes: _Scenes, rng: random.Random, copy: int) -> tuple[Game, SyntheticTask]:
    """A new template made a task in the `copy`-th of the scenes where it can be followed, from the first again where
    they are too few.
    """
    template, found = _template(scenes, rng)
    for other in rng.sample(range(len(scenes)), min(_TRIES, len(scenes))):
        if len(found) > copy:
            break
        game, scene = scenes[other]
        task = template.task(scene, rng)
        if task is not None:
            found.append((game, task))
    return found[copy % len(found)]


def _template(scenes: _Scenes, rng: random.Random) -> tuple[TaskTemplate, list[tuple[Game, SyntheticTask]]]:
    """A new template and the task it is in the scene it was made for."""
    for _ in range(1000):
        game, scene = scenes[rng.randrange(len(scenes))]
        if len(scene.places) < 3 or len(scene.things) < 2:
            continue
        template = make_template(scene, rng)
        task = template.task(scene, rng)
        if task is not None:
            return template, [(game, task)]
    raise TrainError("no train game's scene has places and things enough for a synthetic task: give more games")


def teach_synthetic(
    games: list[Path],
    number: int,
    priors: Priors,
    out: Path,
    jobs: Jobs,
    max_steps: int,
    noise_rate: float = 0.0,
    seed: int = 0,
) -> dict[str, int]:
    """Write `number` episodes of synthetic tasks in the scenes of these *train* games to the trajectory file `out`.

    The other parameters, resuming and what it returns are those of `teach`. Raises TrainError.
    """
    if not games:
        raise TrainError("no train games whose scenes a synthetic task could use: see `duomem games list`")
    inputs = {"synthetic": number, "copies": _COPIES} | run_record(games, priors, max_steps, noise_rate, seed)
    worker = _SyntheticWorker(games, priors, max_steps, noise_rate, seed)
    return write_episodes(out, inputs, range(number), worker, jobs)
