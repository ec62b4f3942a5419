"""Making one game: a floor plan of the alfworld wheel, a goal, things placed by weights, a walkthrough that wins it.

Game number i of a split depends on the seed, the split and i alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import parse_game
from duomem.device.alfworld.game_files import GAME_FILE, SPLITS
from duomem.device.alfworld.goal import TASK_TYPES
from duomem.train.games.goals import possible_goals
from duomem.train.games.layouts import FloorPlan, plans_of
from duomem.train.games.placement import place_things
from duomem.train.games.planner import plan_walkthrough
from duomem.train.games.problem import write_problem
from duomem.train.games.wheel import Wheel, find_wheel

GENERATOR_VERSION = 1  # raised whenever the same seed would give other bytes
_ATTEMPTS = 50


@dataclass(frozen=True)
class GameFile:
    """A game made: where it goes under json_2.1.1/SPLIT, and its bytes."""

    path: Path
    data: bytes


class Generator:
    """Makes single games. Reads the wheel once."""

    def __init__(self, seed: int, wheel: Wheel | None = None) -> None:
        self._seed = seed
        self._wheel = wheel or find_wheel()
        self._plans: dict[str, list[FloorPlan]] = {split: plans_of(self._wheel, split) for split in SPLITS}

    def make(self, split: str, index: int) -> GameFile:
        """Game `index` of a split. Task types take turns, so that any six in a row have all of them.

        Every game made is read back and its walkthrough played to the win. Raises RuntimeError, a programming
        error, if no attempt gives a game that can be won.
        """
        rng = random.Random(f"{GENERATOR_VERSION} {self._seed} {split} {index}")
        task_type = TASK_TYPES[index % len(TASK_TYPES)]
        for _ in range(_ATTEMPTS):
            plan = rng.choice(self._plans[split])
            goals = possible_goals(self._wheel, plan, task_type)
            if not goals:
                continue
            thing = rng.choice(sorted({goal.thing for goal in goals}))
            goal = rng.choice([goal for goal in goals if goal.thing == thing])
            things = place_things(self._wheel, plan, thing, goal.things_needed, goal.kept_from, rng)
            if [placed.kind for placed in things].count(thing) < goal.things_needed:
                continue
            trial = f"trial_S{self._seed}_{split}_{index:06d}"
            path = Path(f"{task_type}-{thing}-None-{goal.target}-{plan.number}") / trial / GAME_FILE
            fields = {
                "pddl_domain": self._wheel.domain,
                "grammar": self._wheel.grammar.replace("UNKNOWN GOAL", goal.sentence(self._wheel, rng)),
                "pddl_problem": write_problem(self._wheel, plan, things, goal, trial),
                "solvable": True,
            }
            walkthrough = _solve(fields, path)
            return GameFile(path, json.dumps({**fields, "walkthrough": walkthrough}).encode())
        raise RuntimeError(f"no {task_type} game for {split} {index} in {_ATTEMPTS} attempts")


def _solve(fields: Mapping[str, object], path: Path) -> list[str]:
    game = parse_game(json.dumps(fields).encode(), path)
    walkthrough, env = plan_walkthrough(game), AlfworldEnv()
    wins = [env.reset(game).won, *(env.step(command).won for command in walkthrough)]
    if wins.index(True) != len(walkthrough):
        raise RuntimeError(f"{path}: the walkthrough does not win with its last command: {walkthrough}")
    return walkthrough
