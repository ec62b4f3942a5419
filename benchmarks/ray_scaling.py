"""Items a second of two workers against one, as processes of this machine and on a local Ray cluster.

    python benchmarks/ray_scaling.py [--games DIR] [--count 1500] [--naps 40] [--rounds 3]

Two kinds of items: expert games, which keep a core busy, and naps of 100 ms, which show what the pool itself costs.
Runs alternate. A rate counts from the first quarter of the results on, when all workers are at it; how long the first
result takes is told beside it. One process is this one, two are started. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from duomem.core.cpu import cpu_name, usable_cores
from duomem.core.errors import UserError
from duomem.core.parallel import Jobs, map_processes
from duomem.core.ray_pool import RayPool
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games, resolve_root
from duomem.train.teachers.teach import play_expert

NAP = 0.1
WAYS = [(where, jobs) for jobs in (1, 2) for where in ("processes", "ray")]


def make_napper() -> Callable[[int], int]:
    """A worker that waits, as for an endpoint."""

    def nap(item: int) -> int:
        time.sleep(NAP)
        return item

    return nap


def make_expert() -> Callable[[Path], str]:
    """A worker that plays a game as `duomem teach --no-priors` does."""
    return lambda path: json.dumps(play_expert(load_game(path), {}, "train", 50).to_json())


@contextlib.contextmanager
def workers(where: str, jobs: int) -> Iterator[Jobs]:
    """What map_processes takes."""
    if where == "ray":
        with RayPool("local", jobs) as pool:
            yield pool
    else:
        yield jobs


def measure(make: Callable[[], Callable[[Any], Any]], items: Sequence[Any], where: str, jobs: int) -> dict[str, Any]:
    """Seconds to the first result, items a second after the first quarter, and the results."""
    with workers(where, jobs) as pool:
        got, times = [], [time.perf_counter()]
        for result in map_processes(make, items, pool):
            got.append(result)
            times.append(time.perf_counter())
        quarter = len(items) // 4
        rate = (len(items) - quarter) / (times[-1] - times[quarter])
        return {"start_s": times[1] - times[0], "rate": rate, "results": got}


def main() -> None:
    """Print the machine, the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=Path, metavar="DIR", help="folder of games ($ALFWORLD_DATA or runs/games)")
    parser.add_argument("--count", type=int, default=1500, help="train games (%(default)s)")
    parser.add_argument("--naps", type=int, default=40, help="naps (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is run (%(default)s)")
    args = parser.parse_args()
    paths = find_games(resolve_root(args.games), "train")
    games = random.Random(0).sample(paths, min(args.count, len(paths)))
    for path in games:
        path.read_bytes()  # into the page cache, for whoever comes first
    work = {"naps": (make_napper, range(args.naps)), "expert games": (make_expert, games)}
    rates: dict[str, dict[str, list[float]]] = {kind: {} for kind in work}
    starts: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for kind, (make, items) in work.items():
            seen = None
            for where, jobs in WAYS:
                run = measure(make, items, where, jobs)
                rates[kind].setdefault(f"{where} {jobs}", []).append(run["rate"])
                starts.setdefault(f"{where} {jobs}", []).append(run["start_s"])
                if seen not in (None, run["results"]):
                    raise UserError(f"{kind}: {jobs} on {where} gave other results")
                seen = run["results"]
    machine = f"{cpu_name()}, {usable_cores()} cores, Python {platform.python_version()}, Ray {version('ray')}"
    print(f"{machine}; {args.naps} naps, {len(games)} games, {args.rounds} rounds; items/s, median (range)")
    speedup: dict[str, dict[str, float]] = {}
    for kind, ways in rates.items():
        for way, values in ways.items():
            print(f"{kind:14}{way:14}{statistics.median(values):8.1f} ({min(values):.1f}-{max(values):.1f})")
        speedup[kind] = {
            where: statistics.median(b / a for a, b in zip(ways[f"{where} 1"], ways[f"{where} 2"], strict=True))
            for where in ("processes", "ray")
        }
        print(f"{kind:14}2 against 1: " + ", ".join(f"{where} {x:.2f}x" for where, x in speedup[kind].items()))
    print(f"seconds to the first result: { {way: round(statistics.median(s), 2) for way, s in starts.items()} }")
    print(json.dumps({"benchmark": "ray_scaling", "machine": machine, "rates": rates, "speedup": speedup}))


if __name__ == "__main__":
    try:
        main()
    except UserError as e:
        raise SystemExit(f"error: {e}") from None
