"""A training run small enough to make in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from episodes import write_episodes

from duomem.memory_packs.build import build_pack
from duomem.train.config import StudentConfig
from duomem.train.training_run import TrainInputs


@pytest.fixture
def inputs(tmp_path: Path, tiny_model: Path) -> TrainInputs:
    """12 episodes, their pack and a student of 8 steps."""
    episodes = write_episodes(tmp_path / "t.jsonl")
    build_pack(episodes, tmp_path / "p.dmpack", "p")
    config = StudentConfig(
        "tiny",
        rank=4,
        learning_rate=0.02,
        warmup_steps=2,
        batch_size=4,
        max_steps=8,
        minutes=0,
        hold_out_games=0,
        dtype="float32",
        compile=False,
    )
    return TrainInputs(tiny_model, [episodes], [tmp_path / "p.dmpack"], config)
