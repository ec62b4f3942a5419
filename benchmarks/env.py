"""How fast games load and step: alfworld-lite alone and in batches, and the official engine, on the same games.

    python benchmarks/env.py [--games DIR] [--count 10] [--steps 40] [--batch 64] [--no-official]

Commands are drawn beforehand from the admissible ones, other ones for every place of a batch and every repetition, and
played in engines that have loaded the games anew, so nothing is remembered of them. Of each figure it tells the
rate by the clock and, as other work may share the machine, by the processor's time. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from duomem.core.cpu import cpu_name
from duomem.core.errors import UserError
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import SPLITS, find_games, resolve_root
from duomem.device.world.env import Env
from duomem.train.games.official_env import OfficialEnv

_REPEATS = 5
_PROCESSES = 2
Rates = dict[str, float]


def draw_commands(path: Path, steps: int, seed: int = 0) -> list[str]:
    """A walk of `steps` admissible commands, the same every time."""
    rng, env = random.Random(f"{path.parent.name} {seed}"), AlfworldEnv()
    seen, commands = env.reset(load_game(path)), []
    while len(commands) < steps:
        commands.append(rng.choice(seen.admissible))
        seen = env.step(commands[-1])
    return commands


class Clock:
    """Seconds by the clock and of this process's processor time, between its making and now."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def rates(self, count: int) -> Rates:
        """`count` things a second, by both."""
        return {
            "per_s": count / (time.perf_counter() - self._wall),
            "per_cpu_s": count / (time.process_time() - self._processor),
        }


def measure(make: Callable[[], Env], games: dict[Path, list[str]]) -> dict[str, Any]:
    """One game at a time: milliseconds to load and reset, and steps a second, medians and ranges over the games."""
    env, load, steps = make(), [], []
    for path, commands in games.items():
        begin = time.perf_counter()
        env.reset(load_game(path))
        load.append(1e3 * (time.perf_counter() - begin))
        clock = Clock()
        for command in commands:
            env.step(command)
        steps.append(clock.rates(len(commands)))
    return {"load_ms": summary(load), **_spread(steps)}


def measure_batch(make: Callable[[list[Path]], Any], paths: list[Path], batch: int, steps: int) -> dict[str, Any]:
    """`batch` games at a time, in an env that `make` makes of their paths and starts."""
    rates = []
    for repeat in range(_REPEATS):
        drawn = [paths[i % len(paths)] for i in range(batch)]
        walks = [draw_commands(path, steps, repeat * batch + i) for i, path in enumerate(drawn)]
        turns = [list(turn) for turn in zip(*walks, strict=True)]
        env = make(drawn)
        clock = Clock()
        for commands in turns:
            env.step(commands)
        rates.append(clock.rates(batch * steps))
    return _spread(rates)


def make_batch(drawn: list[Path]) -> Any:
    """alfworld-lite's BatchEnv, started, every place with its own game."""
    env = importlib.import_module("alfworld_lite").BatchEnv([str(path) for path in drawn], len(drawn))
    env.play([str(path) for path in drawn])
    return env


def make_vector(drawn: list[Path]) -> Any:
    """alfworld-lite's Gymnasium VectorEnv, started."""
    env = importlib.import_module("alfworld_lite.gym").AlfworldVectorEnv(
        len(drawn), [str(path) for path in drawn], max_steps=1 << 30
    )
    env.reset(options={"game": drawn})
    return env


def _in_a_process(paths: list[Path], batch: int, steps: int, barrier: Any, results: Any) -> None:
    walks = [draw_commands(paths[i % len(paths)], steps, os.getpid() + i) for i in range(batch)]
    turns = [list(turn) for turn in zip(*walks, strict=True)]
    env = make_batch([paths[i % len(paths)] for i in range(batch)])
    barrier.wait()
    begin, processor = time.time(), time.process_time()
    for commands in turns:
        env.step(commands)
    results.put((begin, time.time(), time.process_time() - processor))


def measure_processes(paths: list[Path], batch: int, steps: int) -> dict[str, Any]:
    """Batches in _PROCESSES processes at once: their steps together, from first start to last end."""
    context, rates = multiprocessing.get_context("fork"), []
    for _ in range(_REPEATS):
        barrier, results = context.Barrier(_PROCESSES), context.Queue()
        arguments = (paths, batch, steps, barrier, results)
        workers = [context.Process(target=_in_a_process, args=arguments) for _ in range(_PROCESSES)]
        for worker in workers:
            worker.start()
        done = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
        begins, ends, processor = zip(*done, strict=True)
        count = _PROCESSES * batch * steps
        rates.append({"per_s": count / (max(ends) - min(begins)), "per_cpu_s": count / statistics.fmean(processor)})
    return _spread(rates)


def memory_a_game(paths: list[Path], steps: int) -> float:
    """MB of this process that each of the games takes, loaded and played for `steps` commands."""
    walks = [draw_commands(path, steps) for path in paths]
    before = _resident()
    envs = [make_batch([path]) for path in paths]
    for env, walk in zip(envs, walks, strict=True):
        for command in walk:
            env.step([command])
    return (_resident() - before) / len(paths) / 1e6


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def summary(values: list[float]) -> Rates:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _spread(rates: list[Rates]) -> dict[str, Rates]:
    return {f"steps_{key}": summary([rate[key] for rate in rates]) for key in rates[0]}


@contextmanager
def alfworld_lite() -> Iterator[None]:
    """The package importable: the installed one, or else that of this tree."""
    package = importlib.util.find_spec("alfworld_lite")
    if package is not None and importlib.util.find_spec("alfworld_lite._engine") is not None:
        yield
        return
    root = Path(__file__).parents[1] / "alfworld_lite"
    with tempfile.TemporaryDirectory() as folder:
        sys.path[:0] = [str(root), folder]
        import vendor  # pyright: ignore[reportMissingImports]

        vendor.assemble(Path(folder))
        sys.modules.pop("alfworld_lite", None)
        yield


def main() -> None:
    """Print the machine, the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, metavar="DIR", help="folder of games ($ALFWORLD_DATA or runs/games)")
    parser.add_argument("--split", choices=SPLITS, default="train", help="whose games (%(default)s)")
    parser.add_argument("--count", type=int, default=10, help="games (%(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="commands a game (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="games at a time (%(default)s)")
    parser.add_argument("--no-official", action="store_true", help="leave the official engine out")
    args = parser.parse_args()
    root = resolve_root(args.games)
    paths = find_games(root, args.split)
    chosen = random.Random(0).sample(paths, min(args.count, len(paths)))
    games = {path: draw_commands(path, args.steps) for path in chosen}
    machine = f"{cpu_name()}, {os.cpu_count()} virtual CPUs, Python {platform.python_version()}"
    result: dict[str, Any] = {}
    with alfworld_lite():
        result["memory_mb_a_game"] = memory_a_game(chosen, args.steps)
        result["single"] = measure(AlfworldEnv, games)
        result["batch"] = measure_batch(make_batch, chosen, args.batch, args.steps)
        if importlib.util.find_spec("gymnasium") is not None:
            result["gymnasium"] = measure_batch(make_vector, chosen, args.batch, args.steps)
        result["2 processes"] = measure_processes(chosen, args.batch, args.steps)
    if not args.no_official:
        result["official"] = measure(OfficialEnv, games)
    print(f"{machine}; {len(games)} games of {root}, {args.steps} steps each, batches of {args.batch}; median (range)")
    print(f"{'':12}{'load + reset, ms':>22}{'steps/s':>30}{'steps/CPU s':>30}")
    for name, row in result.items():
        if isinstance(row, dict):
            load = "{median:.1f} ({min:.1f}-{max:.1f})".format(**row["load_ms"]) if "load_ms" in row else ""
            cells = [
                "{median:,.0f} ({min:,.0f}-{max:,.0f})".format(**row[f"steps_{key}"]) for key in ("per_s", "per_cpu_s")
            ]
            print(f"{name:12}{load:>22}{cells[0]:>30}{cells[1]:>30}")
    print(f"memory of a game, loaded and played: {result['memory_mb_a_game']:.2f} MB")
    versions = {name: version(name) for name in ("duomem", *(() if args.no_official else ("alfworld", "textworld")))}
    sizes = {"games": len(games), "steps": args.steps, "batch": args.batch}
    print(json.dumps({"benchmark": "env", "machine": machine, "versions": versions, **sizes, **result}))


if __name__ == "__main__":
    try:
        main()
    except UserError as e:
        raise SystemExit(f"error: {e}") from None
