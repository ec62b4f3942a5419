"""`duomem student`: the students there are, their base models, merging an adapter into one, publishing and pulling.

The base model is converted or downloaded once, into runs/models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.options import CommandGroup, json_option
from duomem.cli.student_catalogue import publish_command, pull_command
from duomem.cli.text import columns
from duomem.cli.values import AdapterFolder, OutputFolder, Student

if TYPE_CHECKING:
    from duomem.train.config import StudentConfig


config_option = click.option(
    "--config",
    type=Student(),
    default="smollm2-135m",
    metavar="NAME",
    help="Student: a name that `duomem student list` prints, or a TOML file.",
)


@click.group(cls=CommandGroup)
def student() -> None:
    """List the students, get a base model, merge an adapter, publish or pull adapters and bundles."""


@student.command("list")
@json_option
def list_students(as_json: bool) -> None:
    """List the students, estimate what training each takes on one GPU, and list the installed adapters and bundles.

    The estimates of memory and time come from the models' public sizes. Nothing is downloaded or loaded.
    """
    from duomem.configs import student_files
    from duomem.memory_packs.catalogue.store import installed
    from duomem.train.architecture import read_architecture
    from duomem.train.config import load_config
    from duomem.train.estimate import ACTION_SHARE, GPUS, UTILISATION, training_hours, training_memory, training_tokens

    rows: list[dict[str, Any]] = []
    for path in student_files().values():
        config, architecture = load_config(path), read_architecture(path)
        if architecture is not None:
            rows.append(
                {
                    "name": path.stem,
                    "model": config.model,
                    "architecture": architecture.name,
                    "parameters": architecture.parameters,
                    "rank": config.rank,
                    "targets": config.target_modules,
                    "trainable": architecture.trainable(config.rank, config.target_modules),
                    "dtype": config.dtype,
                    "training_tokens": training_tokens(config),
                    "memory": training_memory(architecture, config),
                    "hours": {gpu.name: training_hours(architecture, config, gpu) for gpu in GPUS},
                }
            )
    rows.sort(key=lambda row: row["parameters"])
    pulled = [one for one in installed() if one.kind != "pack"]
    if as_json:
        told = {"students": rows, "utilisation": UTILISATION, "action_share": ACTION_SHARE}
        print(json.dumps({**told, "installed": [one.to_json() for one in pulled]}))
        return
    head = ["", "model", "parameters", "LoRA", "rank", "targets", "GB", *(gpu.name for gpu in GPUS)]
    body = [
        [
            row["name"],
            row["model"],
            f"{row['parameters'] / 1e9:.2f} B",
            f"{row['trainable'] / 1e6:.2f} M",
            row["rank"],
            row["targets"],
            f"{row['memory'] / 1e9:.0f}",
            *map(_minutes, row["hours"].values()),
        ]
        for row in rows
    ]
    print(columns([head, *body], left=(0, 1, 5)))
    print(
        f"\nEstimates (train/estimate.py): GB on each GPU, minutes on one at {UTILISATION:.0%} of its peak; -: does "
        "not fit one.\nEvery student reads plain text, no chat template."
    )
    for one in pulled:
        print(f"installed: {one.said()}")


def _minutes(hours: float | None) -> str:
    return "-" if hours is None else f"{max(1, round(60 * hours))} min"


@student.command("base")
@config_option
def base_command(config: StudentConfig) -> None:
    """Print the folder of a student's base model.

    The model is converted or downloaded first if it is not there.
    """
    from duomem.train.base_model import resolve_base_model

    print(resolve_base_model(config.model))


@student.command("merge")
@config_option
@click.option(
    "--adapter",
    type=AdapterFolder(),
    required=True,
    metavar="DIR",
    help="Adapter made by `duomem train`, or the name of an installed one.",
)
@click.option("--out", type=OutputFolder(), required=True, metavar="DIR", help="Hugging Face folder to write.")
def merge_command(config: StudentConfig, adapter: Path, out: Path) -> None:
    """Merge an adapter into its base model, and write a Hugging Face folder."""
    from duomem.train.student import merge_student

    print(merge_student(config, adapter, out))


student.add_command(publish_command)
student.add_command(pull_command)
