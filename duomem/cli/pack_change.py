"""`duomem pack merge` and `duomem pack card`: packs made of packs.

The packs they are made of stay as they are.
"""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.options import PACK
from duomem.cli.pack_look import describe
from duomem.cli.values import InputFile, OutputFile
from duomem.memory_packs.manifest import UNRELEASED

_out = click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="Pack to write (.dmpack).")


@click.command("merge")
@click.argument("first", metavar="PACK", type=PACK)
@click.argument("second", metavar="OTHER", type=PACK)
@_out
@click.option("--name", show_default="the file's", help="Name of the pack.")
@click.option("--version", default=UNRELEASED.version, metavar="X.Y.Z", help="Version of the pack.")
def merge(first: Path, second: Path, out: Path, name: str | None, version: str) -> None:
    """Write the entries of PACK, and what OTHER adds to them, as one pack.

    The lexicon is PACK's, or OTHER's if PACK has none: it cannot be learned again from packs. The card is left out,
    and both licences hold.
    """
    from duomem.memory_packs.merge import merge_packs

    describe(out, merge_packs(first, second, out, name or out.stem, version))


@click.command("card")
@click.argument("file", metavar="PACK", type=PACK)
@click.argument("results", metavar="RESULT...", type=InputFile("episode file"), nargs=-1, required=True)
@_out
def card(file: Path, results: tuple[Path, ...], out: Path) -> None:
    """Write PACK with a card of what was played with it, in place of its old card.

    RESULT is an episode file of `duomem eval` or `duomem baseline`, with its .inputs.json beside it. It was played with
    the memories of PACK, or without any, to compare.
    """
    from duomem.memory_packs.card import write_card

    describe(out, write_card(file, results, out))
