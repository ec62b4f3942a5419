"""`duomem teach --synthetic N`: the expert follows synthetic procedures in the scenes of train games.

Episode i depends on the seed, the games and i alone: a file can be interrupted, and a longer one begins alike.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

from duomem.core.errors import TrainError
from duomem.core.trajectory import TRAIN_SPLIT, Trajectory
from duomem.device.alfworld.game import Game, load_game
from duomem.train.holdout import floor_plan
from duomem.train.synthetic.env import SyntheticEnv
from duomem.train.synthetic.task import TASK_TYPE, Scene, SyntheticTask, TaskTemplate, make_template, scene_of
from duomem.train.teachers.expert import REVISION, Expert, Priors
from duomem.train.teachers.noise import NoiseInjector
from duomem.train.teachers.teach import play_steps, run_record, write_episodes

_COPIES = 4
"""Episodes a template, in as many scenes: each is told by the memories of the others."""

_TRIES = 60

_games: list[Path] = []
_priors: Priors = {}
_max_steps = 0
_noise_rate = 0.0
_seed = 0


def _setup(games: list[Path], priors: Priors, max_steps: int, noise_rate: float, seed: int) -> None:
    global _games, _priors, _max_steps, _noise_rate, _seed
    _games, _priors, _max_steps, _noise_rate, _seed = games, priors, max_steps, noise_rate, seed
    _scene.cache_clear()  # of other games, played before in this process


def _play(number: int) -> dict[str, Any]:
    template, copy = divmod(number, _COPIES)
    game, task = _place(template, copy)
    return play_synthetic(game, task, template, _priors, _max_steps, _noise_rate, _seed, number).to_json()


def play_synthetic(
    game: Game,
    task: SyntheticTask,
    template: int,
    priors: Priors,
    max_steps: int,
    noise_rate: float,
    seed: int,
    number: int,
) -> Trajectory:
    """Episode `number` of the expert, at a synthetic task: it is told the goals, the student is told the memory."""
    env = SyntheticEnv(task)
    observation = env.reset(game)
    intro = observation.text
    expert = Expert(intro, priors, task.goals[0])
    noise = NoiseInjector(intro, noise_rate, f"{seed}/{number}", [act for goal in task.goals for act in goal.acts()])
    steps, last = play_steps(env, observation, expert, noise, max_steps, lambda: expert.pursue(task.goals[env.reached]))
    task_type = f"{TASK_TYPE}{template}"
    return Trajectory(
        game.digest,
        f"{task_type}-{floor_plan(game.path.parent.parent.name)}",
        TRAIN_SPLIT,
        task_type,
        task.sentence,
        intro,
        steps,
        last.text,
        last.won,
        f"expert/{REVISION}",
        seed,
    )


@functools.cache
def _scene(number: int) -> tuple[Game, Scene]:
    game = load_game(_games[number])
    return game, scene_of(game)


def _place(number: int, copy: int) -> tuple[Game, SyntheticTask]:
    """Template `number` made a task in the `copy`-th of the scenes where it can be followed, from the first again
    where they are too few.
    """
    rng = random.Random(f"{_seed}/synthetic/{number}")
    template, found = _template(rng)
    for other in rng.sample(range(len(_games)), min(_TRIES, len(_games))):
        if len(found) > copy:
            break
        game, scene = _scene(other)
        task = template.task(scene, rng)
        if task is not None:
            found.append((game, task))
    return found[copy % len(found)]


def _template(rng: random.Random) -> tuple[TaskTemplate, list[tuple[Game, SyntheticTask]]]:
    """A new template and the task it is in the scene it was made for."""
    for _ in range(1000):
        game, scene = _scene(rng.randrange(len(_games)))
        if len(scene.places) < 3 or len(scene.things) < 2:
            continue
        template = make_template(scene, rng)
        task = template.task(scene, rng)
        if task is not None:
            return template, [(game, task)]
    raise TrainError("no train game's scene has places and things enough for a synthetic procedure: give more games")


def teach_synthetic(
    games: list[Path],
    number: int,
    priors: Priors,
    out: Path,
    jobs: int,
    max_steps: int,
    noise_rate: float = 0.0,
    seed: int = 0,
) -> dict[str, int]:
    """`number` episodes of synthetic tasks in the scenes of these *train* games, in the trajectory file `out`;
    returns {"games", "won", "steps"}. Resumable as `teach`. Raises TrainError.
    """
    if not games:
        raise TrainError("no train games whose scenes a synthetic procedure could use: see `duomem games`")
    inputs = {"synthetic": number, "copies": _COPIES} | run_record(games, priors, max_steps, noise_rate, seed)
    return write_episodes(out, inputs, range(number), _play, jobs, _setup, (games, priors, max_steps, noise_rate, seed))
