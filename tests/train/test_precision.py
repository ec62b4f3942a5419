"""The training type follows what the machine multiplies fast, and is what the run's record says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from duomem.train import precision
from duomem.train.precision import AUTO, fast_dtype, training_dtype
from duomem.train.trainer import train
from duomem.train.training_run import TrainInputs

AVX2 = frozenset({"avx", "avx2", "fma", "f16c"})


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        (AVX2, "float32"),
        (AVX2 | {"avx512f", "avx512_vnni"}, "float32"),
        (AVX2 | {"avx512f", "avx512_bf16"}, "bfloat16"),
        ({"asimd", "bf16"}, "bfloat16"),
        ((), "float32"),
    ],
)
def test_bfloat16_needs_instructions_for_it(features: frozenset[str], dtype: str) -> None:
    assert fast_dtype(features) == dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_what_is_asked_for_stays(dtype: str) -> None:
    assert training_dtype(dtype) == dtype


def test_the_record_says_the_type_trained_in(
    inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_features", lambda: AVX2)
    config = replace(inputs.config, dtype=AUTO, max_steps=1)
    record = train(replace(inputs, config=config), tmp_path / "adapter", 1)
    assert record["config"]["dtype"] == "float32"
