"""Rotary frequencies against transformers, and bias + norm + rotation + split against the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, rotate_half  # noqa: E402
from tvm.script import tirx as T  # noqa: E402

from duomem.compile.kernels import rope  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": str(tvm.get_global_func("target.llvm_get_system_cpu")())})
tensor = tvm.runtime.tensor
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def compiled(function: Any) -> Any:
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    with TARGET:
        return tvm.compile(module, target=TARGET)["main"]


@pytest.mark.parametrize("dim", [64, 128, 256])
@pytest.mark.parametrize(
    ("theta", "scaling"), [(1e4, {}), (1e6, {}), (5e5, LLAMA3), (1e6, {"rope_type": "linear", "factor": 8.0})]
)
def test_angles_are_those_of_transformers(dim: int, theta: float, scaling: dict[str, Any]) -> None:
    config = transformers.LlamaConfig(
        hidden_size=dim * 2,
        num_attention_heads=2,
        head_dim=dim,
        max_position_embeddings=65536,
        rope_theta=theta,
        rope_scaling=dict(scaling) or None,
    )
    if getattr(config, "rope_parameters", None) is not None:
        config.rope_parameters = {"rope_type": "default", **scaling, "rope_theta": theta}
    rotary = LlamaRotaryEmbedding(config)
    positions = np.array([0, 1, 100, 2047, 9000], np.int32)
    cos, sin = rotary(torch.zeros(1), torch.tensor(positions[None].astype(np.int64)))
    frequencies = rope.frequencies(dim, theta, scaling)
    np.testing.assert_allclose(frequencies, rotary.inv_freq.numpy(), rtol=3e-7)
    output = tensor(np.zeros((len(positions), dim), np.float32))
    compiled(rope.angles(dim))(tensor(positions), tensor(rotary.inv_freq.numpy()), output)
    half = dim // 2
    np.testing.assert_allclose(output.numpy()[:, :half], cos[0, :, :half].numpy(), atol=1e-6)
    np.testing.assert_allclose(output.numpy()[:, half:], sin[0, :, :half].numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "bias", "norm"),
    [(9, 3, 64, False, False), (14, 2, 64, True, False), (16, 8, 128, False, True), (4, 1, 256, True, True)],
)
@pytest.mark.parametrize(("loop", "dtype"), [(T.serial, "float32"), (T.parallel, "float32"), (T.serial, "float16")])
def test_rotation(heads: int, kv_heads: int, dim: int, bias: bool, norm: bool, loop: Any, dtype: str) -> None:
    n, epsilon, total = 5, 1e-6, heads + 2 * kv_heads
    rng = np.random.default_rng(0)
    x, shift = (rng.standard_normal(s).astype(np.float32) for s in ((n, total, dim), (total, dim)))
    weights = rng.standard_normal((2, dim)).astype(np.float32)
    angle = np.arange(n, dtype=np.float32)[:, None] * rope.frequencies(dim, 1e4, {})
    table = np.concatenate([np.cos(angle), np.sin(angle)], 1)

    y = torch.tensor(x + shift if bias else x, dtype=torch.float64)
    q, k, v = y.split([heads, kv_heads, kv_heads], 1)
    if norm:
        q, k = (
            z * (z.square().mean(-1, keepdim=True) + epsilon).rsqrt() * torch.tensor(w)
            for z, w in zip((q, k), weights, strict=True)
        )
    cos, sin = (torch.tensor(np.tile(part, 2))[:, None] for part in np.split(table, 2, 1))
    q, k = (z * cos + rotate_half(z) * sin for z in (q, k))

    output = tensor(np.zeros(x.shape, dtype))
    vectors = [tensor(shift.reshape(-1))] * bias + [tensor(w) for w in weights] * norm
    kernel = compiled(rope.rotate(heads, kv_heads, dim, 0.3, epsilon, bias, norm, loop, dtype))
    kernel(tensor(x.reshape(1, n, -1)), tensor(table), *vectors, output)
    np.testing.assert_allclose(
        output.numpy(), torch.cat([q * 0.3, k, v], 1).numpy(), atol=3e-6, rtol=0 if dtype == "float32" else 1e-3
    )

    parts = [tensor(np.zeros((n, h, dim), dtype)) for h in (heads, kv_heads, kv_heads)]
    compiled(rope.split(heads, kv_heads, dim, dtype))(output, tensor(np.zeros(n, np.int32)), *parts, 0)
    assert np.array_equal(np.concatenate([p.numpy() for p in parts], 1), output.numpy())
