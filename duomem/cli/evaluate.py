"""`duomem eval` and `duomem report`: play a split, and compare what was played.

Success always comes with its protocol, n and a 95 % Wilson interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem.cli.options import add_games, add_jobs, add_sample, add_student, config, jobs, select_games
from duomem.cli.text import columns

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import Score

EPISODES = Path("runs/eval")


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "eval",
        help="play a split and print success by task type",
        description="Play a split with a compiled student and print success by task type.",
    )
    add_student(parser)
    add_games(parser, "valid_seen")
    add_sample(parser)
    add_jobs(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="episode file to write (.jsonl; default: one in runs/eval named by its inputs)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.set_defaults(func=run)
    report = verbs.add_parser(
        "report",
        help="success of what was played, compared",
        description="Compare episode files of `duomem eval`, one row each; or, as a page with "
        "tests and a figure, the conditions that a TOML file describes.",
    )
    report.add_argument(
        "episodes",
        nargs="+",
        metavar="[LABEL=]FILE",
        help="episode file, with a label if wanted; or one .toml (see report/described.py)",
    )
    report.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="of a .toml: folder for the page, its JSON and its figure"
    )
    report.set_defaults(func=run_report)


def run(args: argparse.Namespace) -> None:
    from duomem.device.agent.evaluate import episode_file, evaluate, summarize

    played = config(args)
    games = select_games(args)
    out = args.out or episode_file(EPISODES, played, games, args.split)
    scores = summarize(evaluate(played, games, args.split, out, jobs(args)))
    if args.json:
        print(
            json.dumps(
                {
                    "condition": played.record(),
                    "split": args.split,
                    "episodes": str(out),
                    "scores": {k: s.to_json() for k, s in scores.items()},
                }
            )
        )
        return
    print(
        f"{args.bundle} on {len(games)} {args.split} games, {args.protocol}, "
        f"{f'memories of {args.pack}, k = {args.k}' if args.pack else 'no memory'}, {args.max_steps} steps"
    )
    print(_table(scores))
    print(f"episodes: {out}")


def run_report(args: argparse.Namespace) -> None:
    from duomem.core.errors import UserError
    from duomem.device.agent.evaluate import read_episodes, summarize

    if args.episodes[0].endswith(".toml"):
        _run_described(args)
        return
    if args.out:
        raise UserError("--out: a page needs a .toml that describes its conditions: see report/described.py")
    rows = {}
    for text in args.episodes:
        label, _, file = text.rpartition("=")
        rows[label or Path(file).stem] = summarize(read_episodes(Path(file)))["all"]
    if args.json:
        print(json.dumps({label: score.to_json() for label, score in rows.items()}))
    else:
        print(_table(rows))


def _run_described(args: argparse.Namespace) -> None:
    import sys

    from duomem.core.errors import UserError
    from duomem.report.condition import read_result
    from duomem.report.described import read_description
    from duomem.report.write import make_page, write_page

    if len(args.episodes) > 1:
        raise UserError(f"{args.episodes[1]}: one .toml describes all conditions: give it alone")
    file = Path(args.episodes[0])
    described = read_description(file)
    page = make_page(
        described.title,
        described.axis,
        [read_result(condition) for condition in described.conditions],
        ["duomem", *sys.argv[1:]],
        {},
    )
    if args.out:
        write_page(args.out, file.stem, page)
    print(json.dumps(page.to_json()) if args.json else page.markdown())


def _table(scores: dict[str, Score]) -> str:
    """Scores as aligned text, a row each."""
    head = ("", "success", "wins", "95 % interval", "steps", "s/episode", "tokens")
    body: list[tuple[Any, ...]] = [
        (
            name,
            f"{s.success:.1%}",
            f"{s.wins}/{s.n}",
            f"{s.low:.1%} - {s.high:.1%}",
            f"{s.steps:.1f}",
            f"{s.seconds:.1f}",
            f"{s.tokens:.0f}",
        )
        for name, s in scores.items()
    ]
    return columns([head, *body])
