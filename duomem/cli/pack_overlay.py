"""The overlay of a pack on the command line: the option that names it, and `duomem pack export-overlay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.options import PACK
from duomem.cli.values import OutputFile

if TYPE_CHECKING:
    from duomem.memory_packs.overlay import Overlay

overlay_option = click.option(
    "--overlay",
    type=OutputFile(),
    metavar="FILE",
    show_default="in your data folder, by the pack's digest",
    help="Where what was learned beside the pack is kept.",
)


def open_overlay(pack: Path, path: Path | None) -> Overlay:
    """The overlay of the pack file `pack`, at `path` or the default place."""
    from duomem.memory_packs.overlay import Overlay, default_path
    from duomem.memory_packs.pack import read_pack

    read = read_pack(pack)
    return Overlay(path or default_path(read), read)


@click.command("export-overlay")
@click.argument("file", metavar="PACK", type=PACK)
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="File to write (.jsonl).")
@overlay_option
def export_overlay_command(file: Path, out: Path, overlay: Path | None) -> None:
    """Write what `duomem play --learn` learned beside PACK, for who makes its next version.

    A line is an entry with its uses and wins, or a memory that the student won for itself. Memories of games other than
    train games are left out.
    """
    import json

    from duomem.core.errors import PackError
    from duomem.core.files import write_bytes

    opened = open_overlay(file, overlay)
    rows = list(opened.export())
    if not rows:
        raise PackError(f"{opened.path}: nothing was learned beside {file} yet: play with `duomem play --learn`")
    write_bytes(out, b"".join(json.dumps(row, sort_keys=True).encode() + b"\n" for row in rows))
    shown = sum("id" in row for row in rows)
    print(f"{out}: uses and wins of {shown} entries, {len(rows) - shown} new memories")
