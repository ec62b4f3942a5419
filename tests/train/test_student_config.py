"""A student's TOML file: every wrong value is one line naming file and field."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from duomem.configs import student_files
from duomem.core.errors import UserError
from duomem.train.config import StudentConfig, find_config, load_config
from duomem.train.holdout import read_hold_out

SHIPPED = Path(__file__).parents[2] / "shipped" / "students"


@pytest.mark.parametrize("name", student_files())
def test_shipped_students(name: str) -> None:
    path = student_files()[name]
    assert find_config(name) == load_config(path) == find_config(str(path))
    assert StudentConfig(**load_config(path).to_json()) == load_config(path)


def test_shipped_records_have_the_fields_of_today() -> None:
    """Their configs, what they held out, and their logs."""
    records = sorted(SHIPPED.rglob("duomem.json"))
    assert records
    for file in records:
        record = json.loads(file.read_text())
        assert set(record["config"]) <= {field.name for field in fields(StudentConfig)}
        StudentConfig(**record["config"])
        assert read_hold_out(file.parent).record() == record["held_out"]
        logged = [json.loads(line) for line in (file.parent / "log.jsonl").read_text().splitlines()]
        kinds = {kind for row in logged for kind in row.get("validation", {})}
        assert set(record["validation"]) == kinds == {"games", "scenes"}


def test_values_and_defaults(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('model = "m"\nrank = 4\nlearning_rate = 1\n')
    config = load_config(tmp_path / "s.toml")
    assert (config.model, config.rank, config.learning_rate, config.alpha) == ("m", 4, 1, 8)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ranks = 3", "unknown field ranks"),
        ('rank = "3"', "field rank must be a int"),
        ("rank = 1.5", "field rank"),
        ("rank = true", "field rank"),
        ("rank = 0", "field rank must be at least 1"),
        ("alpha = 8", "unknown field alpha"),
        ("compile = 1", "field compile must be a bool"),
        ("learning_rate = true", "field learning_rate"),
        ("learning_rate = 0", "field learning_rate must be above 0"),
        ("learning_rate = nan", "field learning_rate"),
        ("learning_rate = inf", "field learning_rate"),
        ("grad_clip = -1.0", "field grad_clip"),
        ("minutes = -1", "field minutes must be 0 (no limit) or above"),
        ("cpu_minutes = nan", "field cpu_minutes"),
        ("hold_out_scenes = 0.6", "field hold_out_scenes must be between 0 and 0.5"),
        ("patience = -1", "field patience"),
        ("memory_prob = 1.1", "field memory_prob must be between 0 and 1"),
        ("final_lr_ratio = nan", "field final_lr_ratio"),
        ("warmup_steps = 0", "field warmup_steps must be at least 1"),
        ("batch_size = 0", "field batch_size"),
        ('goals = "mine"', "field goals must be all, template or human"),
        ('dtype = "int4"', "field dtype must be auto, bfloat16 or float32"),
        ("model = 3", "field model must be a str"),
    ],
)
def test_wrong_values(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(line if line.startswith("model") else f'model = "m"\n{line}\n')
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path)) and said in str(caught.value)


def test_missing_things(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("rank = 3\n")
    for name, said in (
        (str(tmp_path / "s.toml"), "field model is missing"),
        (str(tmp_path / "x.toml"), "no such student config"),
        ("gpt-5", "--config gpt-5: no such student: known are gemma2-2b, "),
    ):
        with pytest.raises(UserError, match=said):
            find_config(name)
