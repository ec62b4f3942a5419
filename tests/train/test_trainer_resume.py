"""An interrupted training run goes on bit for bit, and a checkpoint that is damaged or of other inputs is refused."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from training_runs import on_update, read_log, run_training

from duomem.core.errors import UserError
from duomem.train import checkpoint, trainer
from duomem.train.training_run import TrainInputs

torch = pytest.importorskip("torch", reason="pip install duomem[train]")
pytest.importorskip("peft", reason="pip install duomem[train]")


def _same(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row of the log is the same in every run."""
    return {k: v for k, v in row.items() if k not in ("tokens_s", "seconds", "cpu_seconds", "peak_rss")}


@pytest.fixture(scope="module")
def whole() -> Iterator[dict[str, Any]]:
    """Log and weights of the uninterrupted run, made once."""
    yield {}


@pytest.mark.parametrize("step", [1, 4, 8])
def test_an_interrupted_run_goes_on_bit_for_bit(
    inputs: TrainInputs, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Any]
) -> None:
    """Ctrl-C in the midst of an update counts after it: the checkpoint holds whole updates."""
    inputs = replace(inputs, config=replace(inputs.config, hold_out_games=0.25, validate_every=3, patience=9))
    weights = "adapter_model.safetensors"
    if not whole:
        run_training(inputs, tmp_path / "whole")
        whole |= {"log": read_log(tmp_path / "whole"), "weights": (tmp_path / "whole" / weights).read_bytes()}
    out = tmp_path / "adapter"
    on_update(monkeypatch, step, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_training(inputs, out)
    assert not out.exists() and (tmp_path / "adapter.training" / "checkpoint.pt").is_file()
    monkeypatch.undo()
    record = run_training(inputs, out)
    assert [row["step"] for row in read_log(out)] == list(range(1, 9)) and record["steps"] == 8
    assert [_same(row) for row in read_log(out)] == [_same(row) for row in whole["log"]]
    assert (out / weights).read_bytes() == whole["weights"]
    assert not (tmp_path / "adapter.training").exists()


def test_a_crash_loses_what_came_after_the_last_checkpoint_only(
    inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may be ahead of the checkpoint; its rows are written anew."""

    def crash() -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(trainer, "_CHECKPOINT_SECONDS", -1)
    on_update(monkeypatch, 5, crash)
    with pytest.raises(RuntimeError, match="power cut"):
        run_training(inputs, tmp_path / "adapter")
    log = tmp_path / "adapter.training" / "log.jsonl"
    with open(log, "a") as f:
        f.write('{"step": 5, "loss": 99}\n{"step": 6, "lo')
    monkeypatch.undo()
    run_training(inputs, tmp_path / "adapter")
    assert [row["step"] for row in read_log(tmp_path / "adapter")] == list(range(1, 9))
    assert max(row["loss"] for row in read_log(tmp_path / "adapter")) < 99


def test_a_disk_too_full_for_a_checkpoint(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def full(path: Path) -> Iterator[IO[bytes]]:
        with open("/dev/full", "wb", buffering=0) as f:
            yield f

    monkeypatch.setattr(trainer, "_CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(checkpoint, "atomic_open", full)
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be written \(.*No space left"):
        run_training(inputs, tmp_path / "adapter")


def _interrupted(inputs: TrainInputs, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    on_update(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_training(inputs, out)
    monkeypatch.undo()
    return out.parent / "adapter.training" / "checkpoint.pt"


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", 100, -100])
def test_a_damaged_checkpoint(
    inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | int
) -> None:
    file = _interrupted(inputs, tmp_path / "adapter", monkeypatch)
    file.write_bytes(damage if isinstance(damage, bytes) else file.read_bytes()[:damage])
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged checkpoint .* delete .*adapter\.training"):
        run_training(inputs, tmp_path / "adapter")


def test_a_checkpoint_of_other_inputs(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _interrupted(inputs, tmp_path / "adapter", monkeypatch)
    before = file.read_bytes()
    with pytest.raises(UserError, match="other inputs"):
        run_training(inputs, tmp_path / "adapter", seed=3)
    assert file.read_bytes() == before
