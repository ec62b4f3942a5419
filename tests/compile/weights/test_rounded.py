from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duomem.compile.weights import rounded as module
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.gptq import Calibration, quantize_calibrated
from duomem.compile.weights.rounded import Rounded, rounded_once


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []

    def counted(checkpoint: Checkpoint, calibration: Calibration, scheme: str) -> Rounded:
        made.append(scheme)
        return quantize_calibrated(checkpoint, calibration, scheme)

    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "quantize_calibrated", counted)
    return made


def equal(one: Rounded, other: Rounded) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True)
    )


def test_the_same_student_is_rounded_once(tiny_model: Path, calls: list[str]) -> None:
    arguments = Checkpoint(tiny_model), Calibration((tuple(range(60)),), {"method": "gptq"})
    first = rounded_once(*arguments, "q4f32_1")
    assert equal(first, rounded_once(*arguments, "q4f32_1")) and len(calls) == 1
    rounded_once(arguments[0], Calibration((tuple(range(59)),), {"method": "gptq"}), "q4f32_1")
    rounded_once(*arguments, "q8f16_1")
    assert calls == ["q4f32_1", "q4f32_1", "q8f16_1"]


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_file_is_made_anew(tiny_model: Path, tmp_path: Path, calls: list[str], damage: str) -> None:
    arguments = Checkpoint(tiny_model), Calibration((tuple(range(60)),), {}), "q4f32_1"
    first = rounded_once(*arguments)
    (file,) = (tmp_path / "home").rglob("*.gptq")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data if damage == "flip" else data[:-1])
    assert equal(first, rounded_once(*arguments)) and len(calls) == 2
    rounded_once(*arguments)
    assert len(calls) == 2


def test_the_oldest_go_first(
    tiny_model: Path, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_BYTES", 1)
    for n in (50, 60):
        rounded_once(Checkpoint(tiny_model), Calibration((tuple(range(n)),), {}), "q4f32_1")
    assert len(list((tmp_path / "home").rglob("*.gptq"))) == 1
