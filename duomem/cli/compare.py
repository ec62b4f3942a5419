"""`duomem grid`: base and LoRA student, each without memory, with its own and with the teacher's, on one split.

Stop it with Ctrl-C, run it again, it goes on; the table is written anew after every condition.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duomem.cli.options import add_games, add_jobs, add_play, add_sample, jobs, play, select_games


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "compare",
        help="every condition from bare student to teacher, compared",
        description="Play and compare {no, self, teacher memory} x {base, LoRA} and the teacher.",
    )
    parser.add_argument("--base", type=Path, metavar="BUNDLE", help="the compiled base model")
    parser.add_argument("--base-self", type=Path, metavar="PACK", help="memories of the base model's own wins")
    parser.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="[SEED=]BUNDLE",
        help="a compiled trained student; again for every other training seed",
    )
    parser.add_argument(
        "--lora-self", action="append", default=[], metavar="[SEED=]PACK", help="memories of that student's own wins"
    )
    parser.add_argument(
        "--taught",
        default="expert",
        choices=("expert", "llm", "reward"),
        help="what the LoRA students learnt from (default: expert)",
    )
    parser.add_argument("--pack", type=Path, metavar="PACK", help="the teacher's memories")
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="the teacher's episodes on these games")
    parser.add_argument(
        "--protocol",
        action="append",
        choices=("free", "constrained"),
        dest="protocols",
        help="again for the other one (default: both)",
    )
    add_play(parser)
    add_games(parser, "valid_seen")
    add_sample(parser)
    add_jobs(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for grid.md, grid.json, grid.png and the episodes",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    import sys
    import time

    from duomem.report.ablation import AblationGrid, Student, plan, run_grid
    from duomem.report.write import make_page, write_page

    own = dict(_named(text) for text in args.lora_self)
    base = (Student(args.base, "", args.base_self),) if args.base else ()
    lora = tuple(Student(bundle, seed, own.pop(seed, None)) for seed, bundle in map(_named, args.lora))
    _check(args, [student.seed for student in lora], own)
    grid = AblationGrid(
        base, lora, args.taught, args.pack, args.teacher, tuple(args.protocols or ("free", "constrained")), play(args)
    )
    games = select_games(args)
    planned = plan(grid, games, args.split, args.out / "episodes")
    started, results = time.monotonic(), []
    for result in run_grid(grid, planned, games, args.split, jobs(args)):
        results.append(result)
        print(f"{result.condition.panel}: {result.condition.name}: {result.success:.1%} of {result.n}", flush=True)
        played = sum((run.seconds or 0) * len(run.won) for r in results for run in r.runs)
        facts = {
            "games": f"{len(games)} of {args.split}, {args.max_steps} steps, greedy, k = {args.k}",
            "processes": jobs(args),
            "seconds of all episodes": round(played),
            "seconds of this call": round(time.monotonic() - started),
        }
        page = make_page("The grid", "", results, ["duomem", *sys.argv[1:]], facts)
        write_page(args.out, "compare", page)
    print(f"\n{page.markdown()}\n{args.out / 'grid.md'}")


def _named(text: str) -> tuple[str, Path]:
    """(seed, file) of "[SEED=]FILE"."""
    seed, _, file = text.rpartition("=")
    return seed, Path(file)


def _check(args: argparse.Namespace, seeds: list[str], unused: dict[str, Path]) -> None:
    """Raises UserError for packs without a student and seeds given twice."""
    from duomem.core.errors import UserError

    if len(seeds) != len(set(seeds)):
        raise UserError("--lora: two students of one seed: name each, as --lora 0=DIR --lora 1=DIR")
    if unused:
        raise UserError(f"--lora-self {min(unused.values())}: no --lora of that seed: give SEED=PACK as in --lora")
    if args.base_self and not args.base:
        raise UserError("--base-self: whose? give --base too")
