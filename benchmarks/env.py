"""How fast a game loads and steps: duomem's engine against the official one, on the same games and commands.

    python benchmarks/env.py [--games DIR] [--count 10] [--steps 40]

A game's commands are drawn once, from duomem's admissible ones, and played in both engines in the same run.
An agent waits for the engine at every step, and for `load` at every episode; training on ten thousand episodes
waits for both as often. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from duomem.core.cpu import cpu_name
from duomem.core.errors import UserError
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import SPLITS, find_games, resolve_root
from duomem.device.world.env import Env
from duomem.train.games.official_env import OfficialEnv


def draw_commands(path: Path, steps: int) -> list[str]:
    """A walk of `steps` admissible commands, the same every time."""
    rng, env = random.Random(path.parent.name), AlfworldEnv()
    seen, commands = env.reset(load_game(path)), []
    while len(commands) < steps:
        commands.append(rng.choice(seen.admissible))
        seen = env.step(commands[-1])
    return commands


def measure(make: Callable[[], Env], games: dict[Path, list[str]]) -> dict[str, list[float]]:
    """Milliseconds to load and reset, and steps a second, of each game in an engine."""
    env = make()
    figures: dict[str, list[float]] = {"load_ms": [], "steps_per_s": []}
    for path, commands in games.items():
        begin = time.perf_counter()
        env.reset(load_game(path))
        loaded = time.perf_counter()
        for command in commands:
            env.step(command)
        figures["load_ms"].append(1e3 * (loaded - begin))
        figures["steps_per_s"].append(len(commands) / (time.perf_counter() - loaded))
    return figures


def summary(values: list[float]) -> dict[str, float]:
    """Median and range over the games."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    """Print the machine, the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, metavar="DIR", help="folder of games ($ALFWORLD_DATA or runs/games)")
    parser.add_argument("--count", type=int, default=10, help="games (%(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="commands a game (%(default)s)")
    args = parser.parse_args()
    root = resolve_root(args.games)
    paths = [path for split in SPLITS for path in find_games(root, split)]
    chosen = random.Random(0).sample(paths, min(args.count, len(paths)))
    games = {path: draw_commands(path, args.steps) for path in chosen}
    engines: dict[str, Callable[[], Env]] = {"duomem": AlfworldEnv, "official": OfficialEnv}
    result = {
        name: {key: summary(values) for key, values in measure(make, games).items()} for name, make in engines.items()
    }
    machine = f"{cpu_name()}, Python {platform.python_version()}"
    versions = {name: version(name) for name in ("duomem", "alfworld", "textworld")}
    print(f"{machine}, one process; {len(games)} games of {root}, {args.steps} steps each; median (range)")
    print(f"{'engine':10}{'load + reset, ms':>28}{'steps/s':>30}")
    for name, row in result.items():
        cells = ["{median:.1f} ({min:.1f}-{max:.1f})".format(**row[key]) for key in ("load_ms", "steps_per_s")]
        print(f"{name:10}{cells[0]:>28}{cells[1]:>30}")
    print(
        json.dumps(
            {
                "benchmark": "env",
                "machine": machine,
                "versions": versions,
                "games": len(games),
                "steps": args.steps,
                **result,
            }
        )
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as e:
        raise SystemExit(f"error: {e}") from None
