"""`duomem teach --invented N`: the expert follows made-up procedures in the rooms of train games.

Episode i depends on the seed, the games and i alone: a file can be interrupted, and a longer one begins alike.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

from duomem.core.errors import UserError
from duomem.core.trajectory import TRAIN_SPLIT, Trajectory
from duomem.device.alfworld.game import Game, load_game
from duomem.train.holdout import floor_plan
from duomem.train.synthetic.task import FAMILY, Recipe, Room, Task, invent, room_of
from duomem.train.synthetic.env import InventedWorld
from duomem.train.teachers.expert import REVISION, Expert, Priors
from duomem.train.teachers.noise import Stumbler
from duomem.train.teachers.teach import play_steps, run_record, write_episodes

_COPIES = 4
"""Episodes a recipe, in as many rooms: each is told by the memories of the others."""

_TRIES = 60

_games: list[Path] = []
_priors: Priors = {}
_max_steps = 0
_stumble_rate = 0.0
_seed = 0


def _setup(games: list[Path], priors: Priors, max_steps: int, stumble_rate: float, seed: int) -> None:
    global _games, _priors, _max_steps, _stumble_rate, _seed
    _games, _priors, _max_steps, _stumble_rate, _seed = games, priors, max_steps, stumble_rate, seed
    _room.cache_clear()  # of other games, played before in this process


def _play(number: int) -> dict[str, Any]:
    recipe, copy = divmod(number, _COPIES)
    game, task = _place(recipe, copy)
    return play_invented(game, task, recipe, _priors, _max_steps, _stumble_rate, _seed, number).to_json()


def play_invented(game: Game, task: Task, recipe: int, priors: Priors, max_steps: int, stumble_rate: float,
                  seed: int, number: int) -> Trajectory:
    """Episode `number` of the expert, at a made-up task: it is told the goals, the student is told the memory."""
    world = InventedWorld(task)
    observation = world.reset(game)
    intro = observation.text
    expert = Expert(intro, priors, task.goals[0])
    stumbler = Stumbler(intro, stumble_rate, f"{seed}/{number}", [act for goal in task.goals for act in goal.acts()])
    steps, last = play_steps(world, observation, expert, stumbler, max_steps,
                             lambda: expert.pursue(task.goals[world.reached]))
    family = f"{FAMILY}{recipe}"
    return Trajectory(game.digest, f"{family}-{floor_plan(game.path.parent.parent.name)}", TRAIN_SPLIT, family,
                      task.sentence, intro, steps, last.text, last.won, f"expert/{REVISION}", seed)


@functools.cache
def _room(number: int) -> tuple[Game, Room]:
    game = load_game(_games[number])
    return game, room_of(game)


def _place(number: int, copy: int) -> tuple[Game, Task]:
    """Recipe `number` made a task in the `copy`-th of the rooms where it can be followed, from the first again
    where they are too few.
    """
    rng = random.Random(f"{_seed}/invented/{number}")
    recipe, found = _recipe(rng)
    for other in rng.sample(range(len(_games)), min(_TRIES, len(_games))):
        if len(found) > copy:
            break
        game, room = _room(other)
        task = recipe.task(room, rng)
        if task is not None:
            found.append((game, task))
    return found[copy % len(found)]


def _recipe(rng: random.Random) -> tuple[Recipe, list[tuple[Game, Task]]]:
    """A new recipe and the task it is in the room it was made for."""
    for _ in range(1000):
        game, room = _room(rng.randrange(len(_games)))
        if len(room.places) < 3 or len(room.things) < 2:
            continue
        recipe = invent(room, rng)
        task = recipe.task(room, rng)
        if task is not None:
            return recipe, [(game, task)]
    raise UserError("no train game's room has places and things enough for a made-up procedure: give more games")


def teach_invented(games: list[Path], number: int, priors: Priors, out: Path, jobs: int, max_steps: int,
                   stumble_rate: float = 0.0, seed: int = 0) -> dict[str, int]:
    """`number` episodes of made-up tasks in the rooms of these *train* games, in the trajectory file `out`;
    returns {"games", "won", "steps"}. Resumable as `teach`. Raises UserError.
    """
    if not games:
        raise UserError("no train games whose rooms a made-up procedure could use: see `duomem games`")
    inputs = {"invented": number, "copies": _COPIES} | run_record(games, priors, max_steps, stumble_rate, seed)
    return write_episodes(out, inputs, range(number), _play, jobs, _setup,
                          (games, priors, max_steps, stumble_rate, seed))
