"""Training lowers the loss, is the same when interrupted and resumed, and never sees a validation episode."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from episodes import write_episodes

from duomem.base.errors import UserError
from duomem.memory_packs.pack import write_pack
from duomem.train import trainer
from duomem.train.trainer import TrainInputs, train

pytest.importorskip("torch", reason="pip install duomem[train]")
pytest.importorskip("peft", reason="pip install duomem[train]")

LONG = 1e9


def _train(inputs: TrainInputs, out: Path, **changes: Any) -> dict[str, Any]:
    config = replace(inputs.config, **changes)
    return train(replace(inputs, config=config), out, minutes=LONG, cpu_minutes=LONG, threads=1)


def _log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def _on_update(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> None:
    """Call `act` in the midst of the update that makes step number `step`."""
    real = trainer._Run._publish

    def publish(run: Any) -> None:
        if run.step + 1 == step:
            act()
        real(run)

    monkeypatch.setattr(trainer._Run, "_publish", publish)


def test_the_loss_falls_and_the_record_tells(inputs: TrainInputs, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    record = _train(inputs, out, max_steps=25)
    losses = [row["loss"] for row in _log(out)]
    assert losses[0] > 5 and np.mean(losses[-5:]) < 0.5 * losses[0]
    assert record["steps"] == 25 and 0 < record["trainable"] < 10_000_000 and 0 <= record["padding"] < 1
    assert record == json.loads((out / "duomem.json").read_text())
    assert sorted(os.listdir(tmp_path)) == ["adapter", "p.dmpack", "t.jsonl"]
    rates = [row["rate"] for row in _log(out)]
    assert rates[0] < rates[1] == max(rates) and rates[-1] < 0.1 * max(rates)


def test_a_finished_run_is_left_alone(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _train(inputs, tmp_path / "adapter")
    monkeypatch.setattr(trainer, "_Run", lambda *a: pytest.fail("trains again"))
    assert _train(inputs, tmp_path / "adapter") == record


@pytest.fixture(scope="module")
def same_losses() -> Iterator[dict[str, list[float]]]:
    """The uninterrupted run's losses, made once."""
    yield {}


@pytest.mark.parametrize("step", [1, 4, 8])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(inputs: TrainInputs, tmp_path: Path, step: int,
                                                          monkeypatch: pytest.MonkeyPatch,
                                                          same_losses: dict[str, list[float]]) -> None:
    """Ctrl-C in the midst of an update counts after it: the checkpoint holds whole updates."""
    if not same_losses:
        _train(inputs, tmp_path / "whole")
        same_losses["loss"] = [row["loss"] for row in _log(tmp_path / "whole")]
    out = tmp_path / "adapter"
    _on_update(monkeypatch, step, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        _train(inputs, out)
    assert not out.exists() and (tmp_path / "adapter.training" / "checkpoint.pt").is_file()
    monkeypatch.undo()
    record = _train(inputs, out)
    losses = [row["loss"] for row in _log(out)]
    assert [row["step"] for row in _log(out)] == list(range(1, 9)) and record["steps"] == 8
    assert losses == pytest.approx(same_losses["loss"], abs=1e-4)
    assert not (tmp_path / "adapter.training").exists()


def test_a_crash_loses_what_came_after_the_last_checkpoint_only(inputs: TrainInputs, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """The log may be ahead of the checkpoint; its rows are written anew."""
    def crash() -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(trainer, "_CHECKPOINT_SECONDS", -1)
    _on_update(monkeypatch, 5, crash)
    with pytest.raises(RuntimeError, match="power cut"):
        _train(inputs, tmp_path / "adapter")
    log = tmp_path / "adapter.training" / "log.jsonl"
    with open(log, "a") as f:
        f.write('{"step": 5, "loss": 99}\n{"step": 6, "lo')
    monkeypatch.undo()
    _train(inputs, tmp_path / "adapter")
    assert [row["step"] for row in _log(tmp_path / "adapter")] == list(range(1, 9))
    assert max(row["loss"] for row in _log(tmp_path / "adapter")) < 99


def test_a_disk_too_full_for_a_checkpoint(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def full(path: Path) -> Iterator[IO[bytes]]:
        with open("/dev/full", "wb", buffering=0) as f:
            yield f

    monkeypatch.setattr(trainer, "_CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(trainer, "atomic_open", full)
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be written \(.*No space left"):
        _train(inputs, tmp_path / "adapter")


def _interrupted(inputs: TrainInputs, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _on_update(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        _train(inputs, out)
    monkeypatch.undo()
    return out.parent / "adapter.training" / "checkpoint.pt"


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", 100, -100])
def test_a_damaged_checkpoint(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                              damage: bytes | int) -> None:
    file = _interrupted(inputs, tmp_path / "adapter", monkeypatch)
    file.write_bytes(damage if isinstance(damage, bytes) else file.read_bytes()[:damage])
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged checkpoint .* delete .*adapter\.training"):
        _train(inputs, tmp_path / "adapter")


def test_a_checkpoint_of_other_inputs(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _interrupted(inputs, tmp_path / "adapter", monkeypatch)
    before = file.read_bytes()
    with pytest.raises(UserError, match="other inputs"):
        _train(inputs, tmp_path / "adapter", seed=3)
    assert file.read_bytes() == before


def test_time_ends_it_too(inputs: TrainInputs, tmp_path: Path) -> None:
    record = train(inputs, tmp_path / "adapter", minutes=LONG, cpu_minutes=1e-9, threads=1)
    assert record["steps"] == 1


def test_more_than_ten_million_parameters(inputs: TrainInputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainable parameters, DuoMem allows under 10000000"):
        _train(inputs, tmp_path / "adapter", rank=4000)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(("change", "said"), [
    ({"split": "valid_seen"}, r"t2\.jsonl: line \d+: field split is 'valid_seen'"),
    ({"won": False}, r"t2\.jsonl: no won episode"), ({"count": 0}, r"t2\.jsonl: no won episode")])
def test_episodes_it_refuses(inputs: TrainInputs, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    other = replace(inputs, trajectories=write_episodes(tmp_path / "t2.jsonl", **change))
    with pytest.raises(UserError, match=said):
        _train(other, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "adapter.training").exists()


def test_missing_and_damaged_inputs(inputs: TrainInputs, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\x00\n")
    for change, said in (({"trajectories": tmp_path / "x"}, "x: no such trajectory file"),
                         ({"trajectories": tmp_path / "bad"}, "bad: line 1"),
                         ({"pack": tmp_path / "x"}, "x: no such memory pack"),
                         ({"pack": tmp_path / "bad"}, "bad: memory pack is damaged")):
        with pytest.raises(UserError, match=said):
            _train(replace(inputs, **change), tmp_path / "adapter")
    for change, said in (({"max_tokens": 5}, "max_tokens"), ({"target_modules": "q_projector,k"}, "target_modules")):
        with pytest.raises(UserError, match=said):
            _train(inputs, tmp_path / "adapter", **change)
    assert sorted(os.listdir(tmp_path)) == ["bad", "p.dmpack", "t.jsonl"]


def test_a_folder_of_something_else_is_not_replaced(inputs: TrainInputs, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for out in (tmp_path / "mine", inputs.trajectories):
        with pytest.raises(UserError, match="exists and is no adapter"):
            _train(inputs, out)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_an_empty_pack_trains_without_memories(inputs: TrainInputs, tmp_path: Path) -> None:
    write_pack(tmp_path / "none.dmpack", "none", "expert/1", "", [])
    assert _train(replace(inputs, pack=tmp_path / "none.dmpack"), tmp_path / "adapter", max_steps=1)["steps"] == 1
