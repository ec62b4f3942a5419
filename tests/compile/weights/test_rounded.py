from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from calibrated import Stored

from duomem.compile.models.config import Weight
from duomem.compile.weights import rounded as module
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.gptq import Calibration, Keep, calibrated_order, quantize_calibrated
from duomem.compile.weights.quantize import quantize
from duomem.compile.weights.rounded import rounded_once


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []

    def counted(checkpoint: Checkpoint, calibration: Calibration, scheme: str, keep: Keep) -> None:
        made.append(scheme)
        quantize_calibrated(checkpoint, calibration, scheme, keep)

    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "quantize_calibrated", counted)
    return made


def once(model: Path, tokens: int = 60, scheme: str = "q4f32_1") -> dict[str, Stored]:
    checkpoint = Checkpoint(model)
    with rounded_once(checkpoint, Calibration((tuple(range(tokens)),), {"method": "gptq"}), scheme) as rounded:
        return {weight.name: rounded.read(weight.name) for weight in calibrated_order(checkpoint.config)}


def equal(one: dict[str, Stored], other: dict[str, Stored]) -> bool:
    return all(np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))


def test_the_same_student_is_rounded_once(tiny_model: Path, calls: list[str]) -> None:
    first = once(tiny_model)
    assert equal(first, once(tiny_model)) and len(calls) == 1
    once(tiny_model, tokens=59)
    once(tiny_model, scheme="q8f16_1")
    assert calls == ["q4f32_1", "q4f32_1", "q8f16_1"]


@pytest.mark.parametrize("tied", [True, False])
def test_each_matrix_is_read_as_it_was_given(
    make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    given: dict[str, Stored] = {}

    def noted(checkpoint: Checkpoint, calibration: Calibration, scheme: str, keep: Keep) -> None:
        def both(weight: Weight, q: np.ndarray, scale: np.ndarray) -> None:
            given[weight.name] = q.copy(), scale.copy()
            keep(weight, q, scale)

        quantize_calibrated(checkpoint, calibration, scheme, both)

    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "quantize_calibrated", noted)
    found = once(make_model(tmp_path / "m", tie_word_embeddings=tied))
    assert found.keys() == given.keys() and equal(found, given)


@pytest.mark.parametrize("damage", ["flip", "cut", "last"])
def test_a_damaged_file_is_made_anew(tiny_model: Path, tmp_path: Path, calls: list[str], damage: str) -> None:
    first = once(tiny_model)
    (file,) = (tmp_path / "home").rglob("*.gptq")
    data = bytearray(file.read_bytes())
    data[-1 if damage == "last" else len(data) // 2] ^= 1
    file.write_bytes(data[:-1] if damage == "cut" else data)
    assert equal(first, once(tiny_model)) and len(calls) == 2
    once(tiny_model)
    assert len(calls) == 2


def test_a_failure_keeps_nothing(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(checkpoint: Checkpoint, calibration: Calibration, scheme: str, keep: Keep) -> None:
        weight = calibrated_order(checkpoint.config)[0]
        keep(weight, np.zeros((2, 4), np.uint32), np.zeros((2, 1), np.float32))
        raise RuntimeError("stopped")

    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "quantize_calibrated", fails)
    with pytest.raises(RuntimeError):
        once(tiny_model)
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


def test_the_oldest_go_first(
    tiny_model: Path, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_BYTES", 1)
    for n in (50, 60):
        once(tiny_model, n)
    assert len(list((tmp_path / "home").rglob("*.gptq"))) == 1


def slowly(model: Path, log: Path) -> None:
    """What a process does that rounds the student, unless another has. torch cannot be used in one that was forked."""

    def logged(checkpoint: Checkpoint, calibration: Calibration, scheme: str, keep: Keep) -> None:
        with log.open("a") as f:
            f.write("rounds\n")
        time.sleep(0.3)
        for weight in calibrated_order(checkpoint.config):
            keep(weight, *quantize(checkpoint.matrix(weight), scheme))

    module.quantize_calibrated = logged
    found = once(model)
    with log.open("a") as f:
        f.write(f"has {sum(int(q.sum(dtype=np.uint64)) for q, _ in found.values())}\n")


def test_of_two_processes_at_once_one_rounds(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    log = tmp_path / "log"
    processes = [multiprocessing.get_context("fork").Process(target=slowly, args=(tiny_model, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    first, *others = log.read_text().splitlines()
    assert first == "rounds" and len(others) == 2 and others[0] == others[1] and others[0].startswith("has ")
