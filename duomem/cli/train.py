"""`duomem train`: a LoRA adapter from trajectories and memories.

All inputs are read once before the base model is converted or downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.options import PACK, TRAJECTORIES, own_world_option
from duomem.cli.student import config_option
from duomem.cli.values import COUNT, AdapterFolder, OutputFolder

if TYPE_CHECKING:
    from duomem.train.config import StudentConfig

_OVERRIDES = (
    ("minutes", float, "Most minutes of training, 0 for no limit."),
    ("cpu_minutes", float, "Most CPU minutes of all threads together, 0 for no limit."),
    ("max_steps", int, "Most optimiser steps."),
    ("learning_rate", float, "Learning rate after the warm-up."),
    ("final_lr_ratio", float, "Share of the learning rate that is left at the end."),
    ("seed", int, "Seed of the adapter, the order and the memories."),
    ("hold_out_scenes", float, "Share of the floor plans of which no game is trained on."),
)
"""Fields of the student's config that a flag can replace."""


def _override_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for field, kind, what in reversed(_OVERRIDES):
        flag = f"--{field.replace('_', '-')}"
        command = click.option(flag, type=kind, metavar="N", show_default="the config's", help=what)(command)
    return command


@click.command(short_help="Train a LoRA adapter on won trajectories.")
@config_option
@click.option(
    "--trajectories",
    type=TRAJECTORIES,
    required=True,
    multiple=True,
    metavar="FILE",
    help="File written by `duomem teach`. Repeat it for more.",
)
@click.option(
    "--pack",
    "packs",
    type=PACK,
    required=True,
    multiple=True,
    metavar="FILE",
    help="Memory pack whose memories are shown while training. Repeat it for more.",
)
@click.option(
    "--start",
    type=AdapterFolder(),
    metavar="DIR",
    show_default="a new one",
    help="Adapter to go on from. What its training held out stays held out.",
)
@click.option(
    "--goals",
    type=click.Choice(("all", "template", "human")),
    show_default="the config's",
    help="Whose words to learn from: episodes told in the games' own, in people's, or all.",
)
@own_world_option
@_override_options
@click.option("--threads", type=COUNT, metavar="N", show_default="one per core", help="CPU threads of each process.")
@click.option("--out", type=OutputFolder(), required=True, metavar="DIR", help="Adapter folder to write.")
def train(
    config: StudentConfig,
    trajectories: tuple[Path, ...],
    packs: tuple[Path, ...],
    start: Path | None,
    world: str | None,
    threads: int | None,
    out: Path,
    **overrides: float | str | None,
) -> None:
    """Train a LoRA adapter on the won episodes of trajectory files, with memories of the packs in the prompt.

    An interrupted run goes on where it stopped. A finished run of the same inputs is left as it is.
    """
    import os
    from dataclasses import replace

    from duomem.core.errors import ConfigError
    from duomem.train.student import train_student
    from duomem.train.trainer import PLOT

    changes: dict[str, Any] = {field: value for field, value in overrides.items() if value is not None}
    try:
        config = replace(config, **changes)
    except ConfigError as e:
        raise click.UsageError(str(e)) from None
    record = train_student(config, trajectories, packs, out, start=start, threads=threads, world=world)
    if os.environ.get("RANK", "0") != "0":  # of several processes under `accelerate launch` the first one tells
        return
    print(
        f"{out}: {record['trainable'] / 1e6:.2f} M trainable parameters, {record['steps']} steps, "
        f"{record['tokens'] / 1e6:.2f} M tokens ({record['padding']:.1%} padding) in "
        f"{record['seconds'] / 60:.1f} min ({record['cpu_seconds'] / 60:.1f} CPU min), loss {record['loss']:.3f}, "
        f"at most {record['peak_rss'] / 1e9:.1f} GB"
    )
    for kind, measured in record["validation"].items():
        print(f"held-out {kind}: loss {measured['loss']:.3f}, {measured['accuracy']:.1%} of actions right")
    print(f"curves: {out / PLOT}")
