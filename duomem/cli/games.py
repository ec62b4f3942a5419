"""`duomem games`: which games are here, and new ones made offline.

Listing needs nothing; generating needs the files of the alfworld wheel.
"""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.options import CommandGroup
from duomem.cli.values import OutputFolder
from duomem.device.alfworld.game_files import DEFAULT_ROOT

_NUMBER = click.IntRange(0, 1_000_000)
_TWC = click.IntRange(0, 1000)


@click.group(cls=CommandGroup)
def games() -> None:
    """List ALFWorld games, or generate new ones."""


@games.command("list")
@click.option(
    "--games",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    show_default=f"$ALFWORLD_DATA, else {DEFAULT_ROOT}",
    help="Folder with games.",
)
def list_games(folder: Path | None) -> None:
    """List the games that are here, by split and task type."""
    from collections import Counter

    from duomem.device.alfworld.game_files import SPLITS, describe_path, find_games, resolve_root

    root = resolve_root(folder)
    print(f"games in {root}")
    for split in SPLITS:
        described = [describe_path(path) for path in find_games(root, split)]
        plans = {plan for _, plan in described if plan}
        print(f"  {split}: {len(described)} games, {len(plans)} floor plans")
        for task_type, count in sorted(Counter(task_type for task_type, _ in described).items()):
            print(f"    {count:6} {task_type}")


@games.command("generate")
@click.option(
    "--out", type=OutputFolder(), default=DEFAULT_ROOT, metavar="DIR", help="Folder to write.", show_default=True
)
@click.option("--seed", type=int, default=0, metavar="N", help="Another seed gives other games.")
@click.option("--train", type=_NUMBER, default=600, metavar="N", help="Number of train games.")
@click.option("--seen", type=_NUMBER, default=60, metavar="N", help="Number of valid_seen games: floor plans of train.")
@click.option(
    "--unseen", type=_NUMBER, default=60, metavar="N", help="Number of valid_unseen games: floor plans of their own."
)
def generate_command(out: Path, seed: int, train: int, seen: int, unseen: int) -> None:
    """Generate ALFWorld games of all six task types, offline.

    The scenes come from the alfworld wheel. The same arguments give the same bytes. An interrupted run goes on where it
    stopped.
    """
    from duomem.train.games.generate import generate_games

    total = train + seen + unseen
    new = generate_games(out, seed, train, seen, unseen)
    if new:
        print(f"{out}: made {new} games, {total} in all")
    else:
        print(f"{out}: all {total} games are there, nothing to do")


@games.command("twc")
@click.option("--out", type=OutputFolder(), required=True, metavar="DIR", help="Folder to write.")
@click.option("--train", type=_TWC, default=600, metavar="N", help="Number of train games.")
@click.option("--dev", type=_TWC, default=100, metavar="N", help="Number of dev games: things that train has not.")
@click.option("--test", type=_TWC, default=200, metavar="N", help="Number of test games: things of their own.")
def twc_command(out: Path, train: int, dev: int, test: int) -> None:
    """Write games of TextWorld Commonsense, for --world twc, offline.

    One, two or three things lie about in a room. The same numbers give the same games. Needs the extra twc.
    """
    from duomem.device.twc.games import write_games

    counts = {"train": train, "dev": dev, "test": test}
    new = write_games(out, counts)
    print(f"{out}: made {new} games, {sum(counts.values())} in all")
