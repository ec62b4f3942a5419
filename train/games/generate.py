"""`duomem games generate`: sets of generated ALFWorld games, from the alfworld wheel, without a download.

Game number i of a split depends on the seed, the split and i alone, so a set can be interrupted and grown.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import GameError
from duomem.core.files import read_json, write_bytes, write_json
from duomem.core.progress import progress
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import parse_game
from duomem.device.alfworld.game_files import DATA_FOLDER, GAME_FILE, SPLITS
from duomem.device.alfworld.goal import TASK_TYPES
from duomem.train.games.goals import possible_goals
from duomem.train.games.layouts import FloorPlan, plans_of
from duomem.train.games.placement import place_things
from duomem.train.games.planner import plan_walkthrough
from duomem.train.games.problem import write_problem
from duomem.train.games.wheel import VERSION, Wheel, find_wheel

GENERATOR_VERSION = 1  # raised whenever the same seed would give other bytes
MANIFEST = "duomem-games.json"
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


def generate(out: Path, seed: int, counts: Mapping[str, int]) -> Iterator[bool]:
    """Write `counts[split]` games of every split under `out`, yielding once a game whether it was new.

    A complete set of the same arguments is left alone at once; an interrupted or smaller one is completed.
    Raises GameError if `out` holds something else, or more games than asked for.
    """
    out = Path(out)
    wanted = {
        "format": "duomem-games",
        "version": GENERATOR_VERSION,
        "alfworld": VERSION,
        "seed": seed,
        "counts": dict(counts),
    }
    if _check_manifest(out, wanted):
        return
    generator = Generator(seed)
    write_json(out / MANIFEST, {**wanted, "complete": False})
    for split in SPLITS:
        for index in range(counts[split]):
            game = generator.make(split, index)
            path = out / DATA_FOLDER / split / game.path
            is_new = not path.exists()
            if is_new:
                write_bytes(path, game.data)
            yield is_new
    write_json(out / MANIFEST, {**wanted, "complete": True})


def generate_games(out: Path | str, seed: int = 0, train: int = 600, seen: int = 60, unseen: int = 60) -> int:
    """Make ALFWorld games of all six task types, in the layout of alfworld-download.

    out: folder to write. seed: another one makes other games. train, seen, unseen: games of the splits train,
    valid_seen and valid_unseen. The same arguments give the same bytes; an interrupted set is completed.

    Returns how many games are new. Raises GameError if `out` holds something else, or without the alfworld wheel.
    """
    counts = {"train": train, "valid_seen": seen, "valid_unseen": unseen}
    return sum(progress(generate(Path(out), seed, counts), "games", total=sum(counts.values()), unit="games"))


def _check_manifest(out: Path, wanted: Mapping[str, object]) -> bool:
    """Whether `out` holds the whole wanted set. Raises GameError if it cannot become that set."""
    path = out / MANIFEST
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise GameError(f"{out}: is not empty and holds no {MANIFEST}: choose another --out")
        return False
    found = read_json(path, "game manifest")
    if not isinstance(found, dict):
        raise GameError(f"{path}: is not a game manifest: choose another --out")
    for field in ("format", "version", "alfworld", "seed"):
        if found.get(field) != wanted[field]:
            raise GameError(
                f"{path}: field {field} is {found.get(field)!r}, not {wanted[field]!r}: choose "
                "another --out, or remove that folder"
            )
    counts = found.get("counts")
    more = wanted["counts"]
    if not isinstance(counts, dict) or not isinstance(more, dict):
        raise GameError(f"{path}: field counts is not an object: choose another --out")
    for split, count in more.items():
        if not isinstance(counts.get(split), int) or counts[split] > count:
            raise GameError(
                f"{path}: field counts.{split} is {counts.get(split)!r}, more than the {count} "
                "asked for: ask for at least as many, or choose another --out"
            )
    return counts == more and found.get("complete") is True
