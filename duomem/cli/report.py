"""`duomem report`: what was played, compared.

Episode files give a table; a TOML file that describes conditions gives a page with tests and a figure.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from duomem.cli.options import json_option
from duomem.cli.text import score_table
from duomem.cli.values import InputFile, Labelled, OutputFolder


@click.command(short_help="Compare what was played.")
@click.argument(
    "episodes", type=Labelled(InputFile("episode file")), nargs=-1, required=True, metavar="[LABEL=]FILE..."
)
@json_option
@click.option(
    "--out",
    type=OutputFolder(),
    metavar="DIR",
    help="Folder for the page of a .toml, its JSON and its figure.",
)
@click.pass_obj
def report(words: list[str], episodes: tuple[tuple[str, Path], ...], as_json: bool, out: Path | None) -> None:
    """Compare episode files of `duomem eval`, one row each.

    One .toml file instead describes conditions (format: duomem/report/described.py). It gives a page with tests and a
    figure.
    """
    from duomem.device.agent.evaluate import read_episodes, summarize

    (_, first), *others = episodes
    if first.suffix == ".toml":
        if others:
            raise click.UsageError(f"{first}: one .toml describes all conditions: give it alone.")
        _report_described(first, ["duomem", *words], as_json, out)
        return
    if out:
        raise click.UsageError("--out: a page needs a .toml that describes its conditions: see report/described.py.")
    rows = {label or file.stem: summarize(read_episodes(file))["all"] for label, file in episodes}
    if as_json:
        print(json.dumps({label: score.to_json() for label, score in rows.items()}))
    else:
        print(score_table(rows))


def _report_described(file: Path, command: list[str], as_json: bool, out: Path | None) -> None:
    from duomem.report.condition import read_result
    from duomem.report.described import read_description
    from duomem.report.write import make_page, write_page

    described = read_description(file)
    results = [read_result(condition) for condition in described.conditions]
    page = make_page(described.title, described.axis, results, command, {})
    if out:
        write_page(out, file.stem, page)
    print(json.dumps(page.to_json()) if as_json else page.markdown())
