"""Writing games of TextWorld Commonsense: small files that name a seed, the goal a player sees, and a solution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from duomem.core.files import write_json
from duomem.device.twc.java import Simulator
from duomem.device.twc.world import MOST_THINGS, TWC

FIRST_SEEDS = {"train": 0, "dev": 10_000, "test": 20_000}
"""TextWorldExpress's own: each of its folds has the thousand seeds from here on."""
MOST_GAMES = 1000
_ROOM = re.compile(r"You are in the ([a-z ]+)\.")
_TAKE = "take "


def write_games(out: Path, counts: Mapping[str, int]) -> int:
    """Write so many games of each split into the folder `out`: one, two and three things in turn.

    The same numbers give the same files. Files that are there are left as they are. Returns how many are new. Raises
    GameError without the extra.
    """
    new = 0
    simulator_of = cache(TWC.simulator)
    for split, count in counts.items():
        there = {path.parent.name for path in (out / split).glob(f"*/*/{TWC.game_file}")}
        for number in range(count):
            seed, things = FIRST_SEEDS[split] + number, 1 + number % MOST_THINGS
            if str(seed) not in there:
                _write(out, split, things, seed, simulator_of(things))
                new += 1
    return new


def _write(out: Path, split: str, things: int, seed: int, simulator: Simulator) -> None:
    started = simulator.start(split, seed, solved=True)
    lying = [c.removeprefix(_TAKE) for c in started.commands if c.startswith(_TAKE)]
    room = _ROOM.match(started.look)
    task_type = f"tidy_{things}"
    slug = "+".join(lying).replace(" ", "_").replace("-", "_").lower()
    group = f"{task_type}-{slug}-{room[1].replace(' ', '_') if room else 'room'}"
    game = {
        "world": TWC.name,
        "task_type": task_type,
        "goal": f"put away {', '.join(lying)}.",
        "fold": split,
        "seed": seed,
        "things": things,
        "solution": list(simulator.solution()),
    }
    folder = out / split / group / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / TWC.game_file, game)
