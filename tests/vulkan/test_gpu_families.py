"""The families whose kernels differ on a GPU, as tiny random models, through the whole parity gate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the models are transformers'")
pytestmark = pytest.mark.vulkan


@pytest.mark.parametrize(("variant", "dispatches"), [("llama", 9), ("qwen2", 9), ("qwen3", 10)])
def test_a_family_passes_the_gate(
    gpu_facts: dict[str, Any], tmp_path: Path, byte_tokenizer: Path, variant: str, dispatches: int
) -> None:
    """llama: scaled rotary positions; qwen2: biases; qwen3: norms of heads. At most 10 dispatches a layer."""
    import duomem_vulkan
    from families import text_model

    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target
    from duomem.device.engine.tvm_engine import TvmEngine

    text_model(variant).save_pretrained(tmp_path / "model")
    shutil.copy(byte_tokenizer / "tokenizer.json", tmp_path / "model")
    out = tmp_path / "bundle"
    bundle, _ = compile_bundle(tmp_path / "model", load_target("vulkan"), "q4f32_1", out, 400, min_agreement=0.0)
    (difference,) = bundle.manifest["gate"]["libraries"].values()
    assert 0 < difference < 1e-3
    session = TvmEngine.open(bundle, "vulkan").session()
    session.prefill([1, 2, 3])
    session.decode(4)
    before = duomem_vulkan.statistics()["dispatches"]
    session.decode(5)
    assert duomem_vulkan.statistics()["dispatches"] - before == dispatches * 2 + 3
