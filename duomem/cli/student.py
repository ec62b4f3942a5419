"""`duomem train`, `merge` and `base`: a LoRA adapter from trajectories, and the plain models around it.

The base model is converted or downloaded once, into runs/models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duomem.cli.options import count

MODELS = Path("runs/models")
_OVERRIDES = (
    ("minutes", float, "most minutes to train, 0 for no limit"),
    ("cpu_minutes", float, "most CPU minutes, all threads together, 0 for no limit"),
    ("max_steps", int, "most optimiser steps"),
    ("learning_rate", float, "learning rate after the warm-up"),
    ("final_lr_ratio", float, "share of the learning rate that is left at the end"),
    ("seed", int, "seed of adapter, order and memories"),
    ("hold_out_scenes", float, "share of the floor plans of which no game is trained on"),
)
"""Fields of the student's config that a flag can replace."""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = verbs.add_parser("train", help="train a LoRA adapter on won trajectories")
    train.add_argument(
        "--config",
        default="smollm2-135m",
        metavar="NAME",
        help="a name in configs/students or a TOML file (default: smollm2-135m)",
    )
    train.add_argument("--trajectories", type=Path, required=True, nargs="+", metavar="FILE", help="of `duomem teach`")
    train.add_argument(
        "--pack", type=Path, required=True, nargs="+", metavar="FILE", help="memories shown while training"
    )
    train.add_argument(
        "--start",
        type=Path,
        metavar="DIR",
        help="adapter to go on from; what its training held out stays held out (default: a new one)",
    )
    for field, kind, what in _OVERRIDES:
        train.add_argument(f"--{field.replace('_', '-')}", type=kind, help=f"{what} (default: the config's)")
    train.add_argument("--threads", type=count, help="CPU threads of each process (default: one a core)")
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
    from dataclasses import replace

    from duomem.core.cpu import usable_cores
    from duomem.train.base_model import resolve_base_model
    from duomem.train.config import find_config
    from duomem.train.trainer import PLOT, TrainInputs, train

    changes = {field: value for field, _, _ in _OVERRIDES if (value := getattr(args, field)) is not None}
    config = replace(find_config(args.config), **changes)
    base = resolve_base_model(config.model, MODELS)
    record = train(
        TrainInputs(base, args.trajectories, args.pack, config, args.start), args.out, args.threads or usable_cores()
    )
    if os.environ.get("RANK", "0") != "0":  # of several processes under `accelerate launch` the first one tells
        return
    print(
        f"{args.out}: {record['trainable'] / 1e6:.2f} M trainable parameters, {record['steps']} steps, "
        f"{record['tokens'] / 1e6:.2f} M tokens ({record['padding']:.1%} padding) in "
        f"{record['seconds'] / 60:.1f} min ({record['cpu_seconds'] / 60:.1f} CPU min), loss {record['loss']:.3f}, "
        f"at most {record['peak_rss'] / 1e9:.1f} GB"
    )
    for kind, measured in record["validation"].items():
        print(f"held-out {kind}: loss {measured['loss']:.3f}, {measured['accuracy']:.1%} of actions right")
    print(f"curves: {args.out / PLOT}")


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
