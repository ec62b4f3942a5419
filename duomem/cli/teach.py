"""`duomem teach`: the searching expert plays games and writes trajectories.

What it knows of where things are comes from the train games under the same root.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duomem.cli.options import add_games, add_jobs, add_sample, count, jobs, select_games, share
from duomem.core.errors import UserError
from duomem.core.trajectory import TRAIN_SPLIT


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("teach", help="write the expert's trajectories", description=__doc__)
    add_games(parser, "train")
    add_sample(parser)
    add_jobs(parser)
    parser.add_argument("--max-steps", type=count, default=50, help="steps an episode (default: 50)")
    parser.add_argument(
        "--noise-rate",
        type=share,
        default=0.0,
        metavar="RATE",
        help="share of steps at which a mistake is played for the expert to recover from (default: 0)",
    )
    parser.add_argument(
        "--synthetic",
        type=count,
        metavar="N",
        help="instead of the games' own tasks, N episodes of synthetic procedures in their rooms",
    )
    parser.add_argument(
        "--student",
        type=Path,
        metavar="BUNDLE",
        help="a compiled student that plays first, until the expert takes over (DAgger)",
    )
    parser.add_argument("--pack", type=Path, metavar="FILE", help="memories that student is shown (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="of mistakes, turns and synthetic procedures (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="trajectory file to write (.jsonl)")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    from duomem.device.agent.evaluate import EvalConfig, PlayConfig
    from duomem.device.alfworld.game_files import find_games, resolve_root
    from duomem.train.synthetic.teach import teach_synthetic
    from duomem.train.teachers.teach import learn_priors, teach

    if args.student and (args.synthetic or args.noise_rate):
        raise UserError(
            "--student: its own mistakes are what is recovered from: leave out --noise-rate and --synthetic"
        )
    if args.pack and not args.student:
        raise UserError(f"--pack {args.pack}: the expert reads no memories: name the --student that is shown them")
    student = (
        EvalConfig(args.student, args.pack, "free", PlayConfig(max_steps=args.max_steps)) if args.student else None
    )
    train_games = find_games(resolve_root(args.games), "train")
    priors = learn_priors(train_games, args.out.with_name("priors.json"), jobs(args))
    if args.synthetic:
        if args.split != TRAIN_SPLIT:
            raise UserError(f"--split {args.split}: synthetic procedures are for training: leave it out")
        counts = teach_synthetic(
            select_games(args),
            args.synthetic,
            priors,
            args.out,
            jobs(args),
            args.max_steps,
            args.noise_rate,
            args.seed,
        )
    else:
        counts = teach(
            select_games(args),
            args.split,
            priors,
            args.out,
            jobs(args),
            args.max_steps,
            args.noise_rate,
            args.seed,
            student,
        )
    what = f"{args.split} games" if not args.synthetic else "episodes of synthetic procedures"
    print(
        f"{args.out}: {counts['games']} {what}, {counts['won']} won "
        f"({counts['won'] / counts['games']:.1%}), {counts['steps'] / counts['games']:.1f} steps a game"
    )
