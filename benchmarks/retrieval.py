"""Milliseconds to find the memories for a goal sentence: `python benchmarks/retrieval.py PACK GAMES [ENTRIES]`.

The sentences are people's, of train games; with a lexicon and without, on one core, medians of single queries.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import cycle, islice
from pathlib import Path

from duomem.core.cpu import cpu_name
from duomem.core.scene import kinds_of, receptacles
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.annotations import Goals
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import MAX_MEMORIES, Retriever

_QUERIES = 300


def main(file: Path, games: Path, entries: int) -> None:
    """Print a line for each way to search."""
    pack = read_pack(file)
    memories = list(islice(cycle(pack.memories), entries))
    asked = []
    for task in Goals("human").tasks(find_games(games, "train")[::10])[:_QUERIES]:
        game = task.load()
        asked.append((game.task, kinds_of(receptacles(AlfworldEnv().reset(game).text))))
    print(f"{cpu_name()}, {len(memories)} memories, {len(asked)} sentences, at most {MAX_MEMORIES} found")
    for name, lexicon in (("lexicon", pack.lexicon), ("words", None)):
        retriever, seconds = Retriever(memories, lexicon), []
        for sentence, places in asked:
            began = time.perf_counter()
            retriever.search(sentence, MAX_MEMORIES, places=places)
            seconds.append(time.perf_counter() - began)
        p95 = statistics.quantiles(seconds, n=20)[-1]
        print(f"{name:8} median {1e3 * statistics.median(seconds):.2f} ms, 95 % within {1e3 * p95:.2f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Milliseconds to find the memories for a goal sentence.")
    parser.add_argument("pack", type=Path)
    parser.add_argument("games", type=Path)
    parser.add_argument("entries", type=int, nargs="?", default=5000)
    args = parser.parse_args()
    main(args.pack, args.games, args.entries)
