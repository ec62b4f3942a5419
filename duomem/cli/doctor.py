"""`duomem doctor`: what this machine has, and what each target still needs to be compiled, linked and run here.

Works on a base install; nothing missing or broken makes it fail, unless --require asks for it.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.options import json_option
from duomem.cli.values import BundleFolder
from duomem.configs import target_files

if TYPE_CHECKING:
    from duomem.device.doctor.doctor import Report

_WIDTH = 120
_MARKS = {True: "yes", False: "no", None: "?"}
_STAGES = ("compile", "link", "run")


class _Requirement(click.ParamType):
    """TARGET or TARGET:STAGE."""

    name = "requirement"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        target, _, stage = value.partition(":")
        if target not in target_files():
            self.fail(f"{value}: no such target: known are {', '.join(target_files())}", param, ctx)
        if stage and stage not in _STAGES:
            self.fail(f"{value}: no such stage: use one of {', '.join(_STAGES)}", param, ctx)
        return value


@click.command(short_help="Print what this machine has for each target, and what it lacks.")
@click.option(
    "--require",
    "required",
    type=_Requirement(),
    multiple=True,
    metavar="TARGET[:STAGE]",
    help="Exit with 1 unless this stage (compile, link or run) of the target is possible here. Without a stage: "
    "compile and link, and run too if the target is for this CPU. Repeat it for more.",
)
@click.option(
    "--bundle",
    type=BundleFolder(),
    metavar="DIR",
    help="Only say whether this bundle runs here: verify it, compare its need of memory, load it, decode a token.",
)
@json_option
def doctor(required: tuple[str, ...], bundle: Path | None, as_json: bool) -> int:
    """Print what this machine has, and for each target whether it can be compiled, linked and run here.

    What is missing comes with the way to get it.
    """
    from duomem.device.doctor.doctor import examine
    from duomem.device.engine.self_check import check_bundle

    if bundle is not None:
        if required:
            raise click.UsageError("--bundle: only looks at the bundle: leave out --require.")
        text = check_bundle(bundle)
        print(json.dumps({"bundle": str(bundle), "text": text}) if as_json else text)
        return 0
    report = examine()
    unmet = [line for wanted in required for line in report.unmet(wanted)]
    if as_json:
        print(json.dumps({**report.to_json(), "unmet": unmet}))
    else:
        print(_text(report))
    for line in unmet:
        print(f"duomem: error: --require {line}", file=sys.stderr)
    return int(bool(unmet))


def _text(report: Report) -> str:
    """The report for people: a line a finding, then the table of targets, then what to do."""
    lines = []
    for finding in report.findings:
        start = f"{finding.name:20} {_MARKS[finding.present]:4} "
        lines += textwrap.wrap(finding.text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
    lines += ["", f"{'target':20} {'device':8} {'arch':10} {'compile':8} {'link':8} run"]
    notes = []
    for target in report.targets:
        stages = target.stages()
        marks = " ".join(f"{'yes' if stage.possible else 'no':8}" for stage in stages.values()).rstrip()
        lines.append(f"{target.name:20} {target.device:8} {target.arch:10} {marks}")
        notes += [
            f"{target.name}: no {name}: {stage.reason}. To do: {stage.fix}."
            for name, stage in stages.items()
            if not stage.possible
        ]
    if not report.targets:
        lines.append("no target files here")
    for note in notes:
        lines += textwrap.wrap(note, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)
