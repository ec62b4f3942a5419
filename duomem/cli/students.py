"""`duomem students`: the students configs/students knows, and what training each would take.

The figures are estimates from public dimensions; nothing is downloaded or loaded.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from duomem.cli.text import columns
from duomem.configs import student_files


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "students",
        help="the students there are, with estimates",
        description="List the students of configs/students: parameters, LoRA, and estimates of "
        "the memory and the time that training takes on one GPU.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
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
    if args.json:
        print(json.dumps({"students": rows, "utilisation": UTILISATION, "action_share": ACTION_SHARE}))
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


def _minutes(hours: float | None) -> str:
    return "-" if hours is None else f"{max(1, round(60 * hours))} min"
