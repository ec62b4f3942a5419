"""`duomem pack`: build a memory pack from trajectories, look into one, search it.

Memories come from train games only.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from duomem.cli.options import count
from duomem.memory_packs.memory_format import MAX_STEPS, MEMORY_FORMATS


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("pack", help="build, show or search a memory pack", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser("build", help="write the memories of won train episodes to a pack")
    build.add_argument("trajectories", type=Path, help="trajectory file, of `duomem teach` or `duomem eval`")
    build.add_argument("--out", type=Path, required=True, metavar="FILE", help="pack to write (.dmpack)")
    build.add_argument("--name", help="name in the pack (default: the file's)")
    build.add_argument(
        "--memory-format", choices=MEMORY_FORMATS, default="script", help="what a memory tells (default: script)"
    )
    build.add_argument(
        "--max-steps",
        type=count,
        default=MAX_STEPS,
        metavar="STEPS",
        help=f"most steps of a memory, what follows them is left out (default: {MAX_STEPS})",
    )
    build.set_defaults(func=run_build)
    show = actions.add_parser("show", help="verify a pack and say what is in it")
    show.add_argument("pack", type=Path)
    show.set_defaults(func=run_show)
    search = actions.add_parser("search", help="the memories nearest to a task")
    search.add_argument("pack", type=Path)
    search.add_argument("task", help='a goal sentence, as "put a clean mug in desk."')
    search.add_argument("--k", type=count, default=1, help="how many (default: 1)")
    search.set_defaults(func=run_search)


def run_build(args: argparse.Namespace) -> None:
    from duomem.memory_packs.build import build_pack

    build_pack(args.trajectories, args.out, args.name or args.out.stem, args.memory_format, args.max_steps)
    _describe(args.out)


def run_show(args: argparse.Namespace) -> None:
    _describe(args.pack)


def _describe(path: Path) -> None:
    from duomem.memory_packs.pack import read_pack

    pack = read_pack(path)
    print(
        f"{path}: {pack.name}, {len(pack.memories)} memories by {pack.author}, "
        f"{path.stat().st_size / 1e6:.2f} MB, sha256 {pack.digest}"
    )
    for task_type, n in sorted(Counter(m.task_type.split("/")[0] for m in pack.memories).items()):
        print(f"  {n:6d}  {task_type}")


def run_search(args: argparse.Namespace) -> None:
    from duomem.memory_packs.pack import read_pack
    from duomem.memory_packs.retriever import Retriever

    for nearness, memory in Retriever(read_pack(args.pack).memories).search(args.task, args.k):
        print(f"{nearness:.3f}  {memory.text()}")
