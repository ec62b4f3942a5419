"""Build a memory pack from played episodes, read it back, and search it.

python examples/build_pack.py runs/train.jsonl runs/expert.dmpack "put a clean mug in desk."
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duomem import Pack, build_pack


def main(trajectories: Path, out: Path, task: str, k: int) -> None:
    """Write a memory of every won episode, and print the nearest ones to a task."""
    build_pack(trajectories, out, name=out.stem)
    pack = Pack.load(out)
    print(f"{out}: {len(pack.memories)} memories by {pack.author}")
    for nearness, memory in pack.search(task, k=k):
        print(f"{nearness:.3f}  {memory.text()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build a memory pack and search it.")
    parser.add_argument("trajectories", type=Path, help="file written by `duomem teach`")
    parser.add_argument("out", type=Path, help="pack to write (.dmpack)")
    parser.add_argument("task", help='a goal sentence, as "put a clean mug in desk."')
    parser.add_argument("--k", type=int, default=2, help="memories to print")
    args = parser.parse_args()
    main(args.trajectories, args.out, args.task, args.k)
