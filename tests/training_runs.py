"""Runs of the trainer for its tests: started, logged, and disturbed in the midst of an update."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.train.trainer import train
from duomem.train.training_run import TrainInputs


def run_training(inputs: TrainInputs, out: Path, **changes: Any) -> dict[str, Any]:
    """Train with these fields of the config changed; its record."""
    config = replace(inputs.config, **changes)
    return train(replace(inputs, config=config), out, threads=1)


def read_log(out: Path) -> list[dict[str, Any]]:
    """The log of a finished run, a dict a step."""
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def on_update(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> None:
    """Call `act` in the midst of the update that makes step number `step`."""
    import torch

    real, made = torch.optim.AdamW.step, itertools.count(1)

    def update(optimizer: Any, *a: Any, **k: Any) -> Any:
        if next(made) == step:
            act()
        return real(optimizer, *a, **k)

    monkeypatch.setattr(torch.optim.AdamW, "step", update)
