"""A student trained and merged by the name of its config, as the Python API does it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duomem import merge_student, train_student
from duomem.core.errors import ConfigError
from duomem.train.training_run import TrainInputs

pytest.importorskip("torch", reason="pip install duomem[train]")
pytest.importorskip("peft", reason="pip install duomem[train]")


def test_trained_and_merged(inputs: TrainInputs, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    fields = {**inputs.config.to_json(), "model": str(inputs.base)}
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items()))
    record = train_student(
        str(config),
        [str(path) for path in inputs.trajectories],
        inputs.packs,
        tmp_path / "adapter",
        threads=1,
        max_steps=2,
    )
    assert record["steps"] == 2 and record == json.loads((tmp_path / "adapter" / "duomem.json").read_text())
    merged = merge_student(str(config), tmp_path / "adapter", str(tmp_path / "merged"))
    assert merged == tmp_path / "merged" and (merged / "tokenizer.json").is_file()


def test_a_student_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody: no such student"):
        train_student("nobody", [], [], tmp_path / "adapter")
