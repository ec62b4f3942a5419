"""`duomem pack page`: what is in a memory pack, as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.options import PACK
from duomem.cli.values import OutputFile


@click.command("page")
@click.argument("file", metavar="PACK", type=PACK)
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="Page to write (.html).")
def page_command(file: Path, out: Path) -> None:
    """Write PACK as one HTML page to look into and search, in any browser, offline."""
    from duomem.memory_packs.pack import read_pack
    from duomem.memory_packs.page import write_page

    write_page(read_pack(file), out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
