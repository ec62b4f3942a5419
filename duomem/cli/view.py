"""`duomem view`: runs as one HTML page, to look at every step that was played."""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.values import InputPlace, Labelled, OutputFile


@click.command(short_help="Look at runs, step by step, on a page.")
@click.argument("first", type=Labelled(InputPlace("run")), metavar="[LABEL=]RUN")
@click.argument("second", type=Labelled(InputPlace("run")), metavar="[[LABEL=]RUN2]", required=False)
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="Page to write (.html).")
def view(first: tuple[str, Path], second: tuple[str, Path] | None, out: Path) -> None:
    """Write RUN as one HTML page that opens from disk: success with intervals, and a player of every episode.

    RUN is an episode file of `duomem eval`, a trajectory file of a teacher, or a folder of `duomem compare`. With RUN2
    the page shows both side by side, and where they differ.
    """
    from duomem.report.view.page import write_view
    from duomem.report.view.run import read_view

    write_view(read_view([first] if second is None else [first, second]), out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
