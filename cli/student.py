"""`duomem train`, `merge` and `base`: a LoRA adapter from trajectories, and the plain models around it.

The base model is converted or downloaded once, into runs/models.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from duomem.cli.options import count

MODELS = Path("runs/models")


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = verbs.add_parser("train", help="train a LoRA adapter on won trajectories")
    train.add_argument("--config", default="smollm2-135m", metavar="NAME",
                       help="a name in configs/students or a TOML file (default: smollm2-135m)")
    train.add_argument("--trajectories", type=Path, required=True, metavar="FILE", help="of `duomem teach`")
    train.add_argument("--pack", type=Path, required=True, metavar="FILE", help="memories shown while training")
    train.add_argument("--minutes", type=float, default=60.0, help="most minutes to train (default: 60)")
    train.add_argument("--cpu-minutes", type=float, default=math.inf, help="most CPU minutes, all threads together")
    train.add_argument("--threads", type=count, help="CPU threads (default: one a core)")
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="adapter folder to write")
    train.set_defaults(func=run_train)
    merge = verbs.add_parser("merge", help="merge an adapter into its base model")
    merge.add_argument("--config", default="smollm2-135m", metavar="NAME", help="student whose base model to use")
    merge.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="adapter folder")
    merge.add_argument("--out", type=Path, required=True, metavar="DIR", help="Hugging Face folder to write")
    merge.set_defaults(func=run_merge)
    base = verbs.add_parser("base", help="print the folder of a student's base model, made or fetched if need be")
    base.add_argument("--config", default="smollm2-135m", metavar="NAME", help="the student (default: smollm2-135m)")
    base.set_defaults(func=run_base)


def run_train(args: argparse.Namespace) -> None:
    import os

    from duomem.base.errors import UserError
    from duomem.train.base_model import resolve_base_model
    from duomem.train.config import find_config
    from duomem.train.trainer import TrainInputs, train

    if not (args.minutes > 0 and args.cpu_minutes > 0):
        raise UserError("--minutes and --cpu-minutes must be above 0")
    config = find_config(args.config)
    base = resolve_base_model(config.model, MODELS)
    record = train(TrainInputs(base, args.trajectories, args.pack, config), args.out, args.minutes, args.cpu_minutes,
                   args.threads or os.cpu_count() or 1)
    print(f"{args.out}: {record['trainable'] / 1e6:.2f} M trainable parameters, {record['steps']} steps, "
          f"{record['tokens'] / 1e6:.2f} M tokens ({record['padding']:.1%} padding) in "
          f"{record['seconds'] / 60:.1f} min ({record['cpu_seconds'] / 60:.1f} CPU min), loss {record['loss']:.3f}")


def run_merge(args: argparse.Namespace) -> None:
    from duomem.train.base_model import resolve_base_model
    from duomem.train.config import find_config
    from duomem.train.merge import merge

    base = resolve_base_model(find_config(args.config).model, MODELS)
    print(merge(base, args.adapter, args.out))


def run_base(args: argparse.Namespace) -> None:
    from duomem.train.base_model import resolve_base_model
    from duomem.train.config import find_config

    print(resolve_base_model(find_config(args.config).model, MODELS))
