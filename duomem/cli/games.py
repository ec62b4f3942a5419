"""`duomem games`: which games are there to play, and `duomem games generate`: make new ones offline.

Listing needs nothing; generating needs the files of the alfworld wheel.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its own verb `generate` to the `duomem` command."""
    from duomem.device.alfworld.game_files import DEFAULT_ROOT

    parser = subparsers.add_parser(
        "games", help="list the ALFWorld games found, or generate new ones", description=__doc__
    )
    parser.add_argument(
        "--games", type=Path, metavar="DIR", help=f"where to look ($ALFWORLD_DATA, else {DEFAULT_ROOT})"
    )
    parser.set_defaults(func=run, games_verb="list")
    verbs = parser.add_subparsers(metavar="")
    maker = verbs.add_parser(
        "generate",
        help="make games of all six task types from the alfworld wheel",
        description="Make ALFWorld games from the room layouts in the alfworld wheel. The same arguments "
        "give the same bytes; an interrupted run goes on where it stopped. valid_unseen games are set in "
        "floor plans no train game has.",
    )
    maker.add_argument("--out", type=Path, default=DEFAULT_ROOT, metavar="DIR", help="folder (%(default)s)")
    maker.add_argument("--seed", type=int, default=0, metavar="N", help="other games (%(default)s)")
    for option, count, what in (
        ("--train", 600, "train games"),
        ("--seen", 60, "other games in train rooms"),
        ("--unseen", 60, "games in rooms of their own"),
    ):
        maker.add_argument(option, type=_count, default=count, metavar="N", help=f"{what} (%(default)s)")
    maker.set_defaults(func=run, games_verb="generate")


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000000")
    return number


def run(args: argparse.Namespace) -> None:
    """List or generate. Raises UserError."""
    if args.games_verb == "generate":
        counts = {"train": args.train, "valid_seen": args.seen, "valid_unseen": args.unseen}
        _generate(args.out, args.seed, counts)
    else:
        _list(args.games)


def _list(games: Path | None) -> None:
    """One line a split: number of games, of floor plans, and of games of each task type."""
    from collections import Counter

    from duomem.device.alfworld.game_files import SPLITS, describe_path, find_games, resolve_root

    root = resolve_root(games)
    print(f"games in {root}")
    for split in SPLITS:
        described = [describe_path(path) for path in find_games(root, split)]
        plans = {plan for _, plan in described if plan}
        print(f"  {split}: {len(described)} games, {len(plans)} floor plans")
        for task_type, count in sorted(Counter(task_type for task_type, _ in described).items()):
            print(f"    {count:6} {task_type}")


def _generate(out: Path, seed: int, counts: dict[str, int]) -> None:
    from duomem.core.progress import progress
    from duomem.train.games.generate import generate

    total = sum(counts.values())
    new = sum(progress(generate(out, seed, counts), "games", total=total, unit="game"))
    if new:
        print(f"{out}: made {new} games, {total} in all")
    else:
        print(f"{out}: all {total} games are there, nothing to do")
