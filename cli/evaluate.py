"""`duomem eval` and `duomem report`: play a split, and compare what was played.

Success always comes with its protocol, n and a 95 % Wilson interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem.cli.options import add_games, add_jobs, add_limit, add_student, jobs, select_games

if TYPE_CHECKING:
    from duomem.device.evaluate import Score

EPISODES = Path("runs/eval")


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("eval", help="play a split and print success by family",
                              description="Play a split with a compiled student and print success by family.")
    add_student(parser)
    add_games(parser, "valid_seen")
    add_limit(parser)
    add_jobs(parser)
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="episode file to write (.jsonl; default: one in runs/eval named by its inputs)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.set_defaults(func=run)
    report = verbs.add_parser("report", help="one row of success for each episode file",
                              description="Compare episode files of `duomem eval`, one row each.")
    report.add_argument("episodes", nargs="+", metavar="[LABEL=]FILE", help="episode file, with a label if wanted")
    report.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    report.set_defaults(func=run_report)


def run(args: argparse.Namespace) -> None:
    from duomem.base.files import digest_of
    from duomem.device.evaluate import Condition, evaluate, summarise

    condition = Condition(args.bundle, args.pack, args.protocol, args.k, args.max_steps, args.context)
    games = select_games(args)
    record = condition.record()
    name = digest_of([record, args.split, [str(g) for g in games]])[:16]
    out = args.out or EPISODES / f"{name}.jsonl"
    scores = summarise(evaluate(condition, games, args.split, out, jobs(args)))
    if args.json:
        print(json.dumps({"condition": record, "split": args.split, "episodes": str(out),
                          "scores": {k: s.to_json() for k, s in scores.items()}}))
        return
    print(f"{args.bundle} on {len(games)} {args.split} games, {args.protocol}, "
          f"{f'memories of {args.pack}, k = {args.k}' if args.pack else 'no memory'}, {args.max_steps} steps")
    print(_table(scores))
    print(f"episodes: {out}")


def run_report(args: argparse.Namespace) -> None:
    from duomem.device.evaluate import read_episodes, summarise

    rows = {}
    for text in args.episodes:
        label, _, file = text.rpartition("=")
        rows[label or Path(file).stem] = summarise(read_episodes(Path(file)))["all"]
    if args.json:
        print(json.dumps({label: score.to_json() for label, score in rows.items()}))
    else:
        print(_table(rows))


def _table(scores: dict[str, Score]) -> str:
    """Scores as aligned text, a row each."""
    head = ("", "success", "wins", "95 % interval", "steps", "s/episode", "tokens")
    body: list[tuple[Any, ...]] = [
        (name, f"{s.success:.1%}", f"{s.wins}/{s.n}", f"{s.low:.1%} - {s.high:.1%}", f"{s.steps:.1f}",
         f"{s.seconds:.1f}", f"{s.tokens:.0f}") for name, s in scores.items()]
    widths = [max(len(str(row[i])) for row in [head, *body]) for i in range(len(head))]
    return "\n".join("  ".join(str(cell).ljust(w) if i == 0 else str(cell).rjust(w)
                               for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in [head, *body])
