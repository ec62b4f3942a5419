"""`duomem doctor`: what this machine has, and what each target still needs to be compiled, linked and run here.

Works on a base install; nothing missing or broken makes it fail, unless --require asks for it.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duomem.device.doctor.doctor import Report

_WIDTH = 120
_MARKS = {True: "yes", False: "no", None: "?"}


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the `duomem` command."""
    parser = verbs.add_parser(
        "doctor", help="what this machine has for each target, and what it lacks", description=__doc__
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="TARGET[:STAGE]",
        help="exit with 1 unless this target's stage (compile, link or run; default: compile and link, "
        "and run if it is for this CPU family) is possible here; may be repeated",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="only say whether this bundle runs here: verify it, compare memory, load it, decode",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 if something required is not possible here. Raises UserError."""
    from duomem.device.doctor.doctor import examine
    from duomem.device.engine.self_check import check_bundle

    if args.bundle is not None:
        text = check_bundle(args.bundle)
        print(json.dumps({"bundle": str(args.bundle), "text": text}) if args.json else text)
        return 0
    report = examine()
    unmet = [line for wanted in args.require for line in report.unmet(wanted)]
    if args.json:
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
