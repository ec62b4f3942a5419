"""What concurrency is worth to a teacher behind an endpoint that takes its time.

    python benchmarks/teach_concurrency.py GAMES [--count 24] [--delay 0.25] [--repeat 3]

The endpoint is that of the tests (tests/fake_endpoint.py): the expert on loopback, each answer delayed. The same games
are played with one episode at a time and with eight. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from duomem.core.chat.address import Endpoint
from duomem.core.chat.endpoint import EndpointModel
from duomem.core.cpu import cpu_name
from duomem.device.alfworld.game_files import find_games
from duomem.train.teachers.llm.policy import Asking
from duomem.train.teachers.llm.style import find_style
from duomem.train.teachers.llm.teach import LlmTeaching, teach_llm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fake_endpoint import FakeEndpoint

_AT_ONCE = (1, 8)


def play(games: list[Path], delay: float, concurrency: int) -> tuple[float, int]:
    """Seconds to play the games, and how many answers that took."""
    with tempfile.TemporaryDirectory() as folder, FakeEndpoint(delay=delay).serving() as fake:
        teaching = LlmTeaching(Asking(find_style("react")), 20, concurrency=concurrency)
        began = time.perf_counter()
        teach_llm(games, "train", EndpointModel(Endpoint("fake", fake.url)), Path(folder) / "t.jsonl", teaching)
        return time.perf_counter() - began, fake.asked["good"]


def main(folder: Path, count: int, delay: float, repeat: int) -> None:
    """Print a line for each concurrency, alternating between them, and how they compare."""
    games = find_games(folder, "train")
    games = games[:: max(1, len(games) // count)][:count]
    seconds: dict[int, list[float]] = {n: [] for n in _AT_ONCE}
    answers = 0
    for _ in range(repeat):
        for n in _AT_ONCE:
            took, answers = play(games, delay, n)
            seconds[n].append(took)
    ratios = [one / many for one, many in zip(*seconds.values(), strict=True)]
    print(f"{cpu_name()}, {len(games)} games, {answers} answers, each delayed by {delay:g} s, {repeat} runs")
    for n, took in seconds.items():
        spread = f"{min(took):.1f} - {max(took):.1f}"
        print(
            f"concurrency {n}: median {statistics.median(took):.1f} s ({spread}), {answers / min(took):.1f} answers/s"
        )
    print(f"faster by {statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})")
    print(json.dumps({"games": len(games), "answers": answers, "delay": delay, "seconds": seconds, "ratios": ratios}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What concurrency is worth to a teacher behind an endpoint.")
    parser.add_argument("games", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--delay", type=float, default=0.25)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    main(args.games, args.count, args.delay, args.repeat)
