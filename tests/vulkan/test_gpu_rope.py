"""The rotation and the norms of heads on a GPU, against float64: the angles must not be the driver's own guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.vulkan

HEADS, KV_HEADS, N = 4, 2, 300
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
rng = np.random.default_rng(0)


def run(kernel: Any, library: Path, device: Any, *arguments: Any) -> list[np.ndarray]:
    """The arrays among `arguments` after calling the kernel with them."""
    import tvm

    target = tvm.target.Target({"kind": "webgpu", "supports_subgroups": False}, host={"kind": "llvm"})
    tvm.compile(tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")}), target=target).export_library(
        str(library)
    )
    values = [tvm.runtime.tensor(a, device) if isinstance(a, np.ndarray) else a for a in arguments]
    tvm.runtime.load_module(str(library))["main"](*values)
    return [value.numpy() for value in values if not isinstance(value, int)]


@pytest.mark.parametrize(("dim", "scaling"), [(64, {}), (128, LLAMA3)])
def test_far_positions_are_rotated_exactly(device: Any, tmp_path: Path, dim: int, scaling: dict[str, Any]) -> None:
    from duomem.compile.kernels.gpu import rope
    from duomem.compile.kernels.rope import frequencies

    turns = frequencies(dim, 100_000.0, scaling)
    qkv = rng.normal(size=(N, HEADS + 2 * KV_HEADS, dim)).astype(np.float32)
    positions = np.sort(rng.integers(0, 8192, N)).astype(np.int32)
    empty = [np.zeros((N, n, dim), np.float32) for n in (HEADS, KV_HEADS, KV_HEADS)]
    kernel = rope.split(HEADS, KV_HEADS, dim, turns)
    *_, q, k, v = run(kernel, tmp_path / "rope.so", device, qkv, positions, *empty, 1)
    angles = (positions[:, None].astype(np.float32) * turns).astype(np.float64)[:, None]
    first, second = np.split(qkv[:, : HEADS + KV_HEADS].astype(np.float64), 2, axis=-1)
    cosine, sine = np.cos(angles), np.sin(angles)
    expected = np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    assert np.abs(np.concatenate([q, k], axis=1) - expected).max() < 2e-6
    assert np.array_equal(v, qkv[:, HEADS + KV_HEADS :])


@pytest.mark.parametrize("dim", [16, 96, 128])
def test_heads_are_normed(device: Any, tmp_path: Path, dim: int) -> None:
    from duomem.compile.kernels.gpu.rope import head_norm

    qkv = rng.normal(size=(1, N, HEADS + 2 * KV_HEADS, dim)).astype(np.float32)
    weights = [rng.normal(size=dim).astype(np.float32) for _ in "qk"]
    kernel = head_norm(HEADS, KV_HEADS, dim, 1e-6)
    *_, found = run(kernel, tmp_path / "norm.so", device, qkv, *weights, np.zeros_like(qkv))
    normed = qkv / np.sqrt((qkv.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)
    end = HEADS + KV_HEADS
    expected = [normed[:, :, :HEADS] * weights[0], normed[:, :, HEADS:end] * weights[1], qkv[:, :, end:]]
    assert np.abs(found - np.concatenate(expected, axis=2)).max() < 1e-5
