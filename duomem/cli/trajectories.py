"""`duomem trajectories`: what is in the files that teachers write."""

from __future__ import annotations

import json
from pathlib import Path

import click

from duomem.cli.chat_options import price_options
from duomem.cli.options import TRAJECTORIES, CommandGroup, json_option
from duomem.cli.text import columns
from duomem.cli.trajectory_formats import FORMAT_COMMANDS
from duomem.cli.values import OutputFile

_price_in, _price_out = price_options()


@click.group(cls=CommandGroup, short_help="Look into trajectory files, export and import them.")
def trajectories() -> None:
    """Look into the trajectory files that teachers write, and write them in the formats of others."""


for _command in FORMAT_COMMANDS:
    trajectories.add_command(_command)


@trajectories.command("report")
@click.argument("file", type=TRAJECTORIES)
@_price_in
@_price_out
@click.option("--samples", type=click.IntRange(0, 1000), default=2, metavar="N", help="Episodes to show.")
@click.option("--html", type=OutputFile(), metavar="FILE", help="Write a page, too: one file that loads nothing.")
@json_option
def report_command(
    file: Path, price_in: float, price_out: float, samples: int, html: Path | None, as_json: bool
) -> None:
    """Report on a teacher's episodes: success by task type, tokens, cost, tries, different solutions, and samples."""
    from duomem.core.chat.budget import Prices
    from duomem.core.files import write_bytes
    from duomem.train.teachers.llm.report import read_report
    from duomem.train.teachers.llm.report_page import HEAD, cells, endings, episode_text, report_page

    report = read_report(file, Prices(price_in, price_out), samples)
    if html is not None:
        write_bytes(html, report_page(f"{file.stem}: a teacher's report", report).encode())
    if as_json:
        rows = {name: row.to_json() for name, row in report.rows.items()}
        print(json.dumps({"players": report.players, "ended": report.ended, "rows": rows}))
        return
    print(columns([HEAD, *(cells(name, row) for name, row in report.rows.items())]))
    print(f"episodes: {endings(report)}")
    for sample in report.samples:
        print(f"\n{episode_text(sample)}")
