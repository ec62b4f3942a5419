"""Attention over pages, among new tokens, merged and decoded, against the textbook formula in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from duomem.compile.kernels import attention, kv_pages, paged_attention, ragged_attention  # noqa: E402
from duomem.compile.kernels.attention import PAGE  # noqa: E402
from duomem.compile.kernels.tile import cpu_of  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": str(tvm.get_global_func("target.llvm_get_system_cpu")())})
tensor = tvm.runtime.tensor


def compiled(functions: dict[str, Any]) -> Any:
    module = tvm.IRModule({name: f.with_attr("global_symbol", name) for name, f in functions.items()})
    with TARGET:
        return tvm.compile(module, target=TARGET)


def int32(*values: int) -> Any:
    return tensor(np.array(values, np.int32))


def expected(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, first: int, softcap: float, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """Output [n, heads, d] and base-2 lse [n, heads] of queries at first, first + 1... over keys at 0, 1..."""
    group = q.shape[1] // k.shape[1]
    scores = np.einsum("qhd,khd->hqk", q.astype(np.float64), np.repeat(k, group, 1).astype(np.float64))
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    query, key = first + np.arange(len(q))[:, None], np.arange(len(k))[None]
    seen = (key <= query) & (key > query - window if window else True)
    powers = np.where(seen, np.exp(scores), 0)
    total = powers.sum(-1)
    mixed = np.einsum("hqk,khd->qhd", powers / total[..., None], np.repeat(v, group, 1).astype(np.float64))
    return mixed, np.log2(total).T


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "softcap", "window", "cached", "new"),
    [
        (9, 3, 64, 0.0, 0, 75, 37),
        (4, 4, 64, 0.0, 0, 3 * PAGE, 1),
        (4, 4, 128, 0.0, 20, 75, 37),
        (8, 1, 128, 0.0, 200, 75, 37),
        pytest.param(8, 1, 256, 5.0, 300, 700, 50, marks=pytest.mark.slow),
        (6, 2, 24, 3.0, 30, 1, 40),
    ],
)
def test_cached_and_new_tokens(
    heads: int, kv_heads: int, dim: int, softcap: float, window: int, cached: int, new: int, dtype: str
) -> None:
    """Keys start at position 48 of their sequence, as in the second block of a forked one."""
    start, total = 48, cached + new
    bound = 5e-6 if dtype == "float32" else 2e-3
    shape = attention.Shape(heads, kv_heads, dim, softcap, cpu_of(TARGET), dtype)
    kernels = compiled(
        {
            "ragged": ragged_attention.ragged_prefill(shape),
            "paged": paged_attention.paged_prefill(shape),
            "decode": paged_attention.paged_decode(shape),
            "append": kv_pages.append(kv_heads, dim, dtype),
            "read": kv_pages.read(1, kv_heads, dim, dtype),
            "merge": kv_pages.merge(heads, dim, dtype),
        }
    )
    rng = np.random.default_rng(0)
    scaled = rng.standard_normal((new, heads, dim)) * 1.5 * dim**-0.5 * attention.score_factor(1.0, softcap)
    scaled = scaled.astype(dtype)
    q = scaled.astype(np.float64) / attention.score_factor(1.0, softcap)
    k, v = (rng.standard_normal((total, kv_heads, dim)).astype(dtype) for _ in range(2))
    pool = -(-total // PAGE) + 5
    ids = rng.permutation(pool)[: -(-total // PAGE)].astype(np.int32)
    slots = np.array([ids[t // PAGE] * PAGE + t % PAGE for t in range(total)], np.int32)
    pages = tensor(np.full((pool, 2, kv_heads, PAGE, dim), np.nan, dtype))
    positions = tensor((start + cached + np.arange(new)).astype(np.int32))
    bounds, tail = int32(0, new), (0, 1.0, 1.0, float(window))

    def empty(n: int) -> tuple[Any, Any]:
        return tensor(np.zeros((n, heads, dim), dtype)), tensor(np.zeros((n, heads), np.float32))

    kernels["append"](pages, tensor(k[:cached]), tensor(v[:cached]), tensor(slots[:cached]))
    (output, lse), (other, other_lse) = empty(new), empty(new)
    args = (tensor(scaled), bounds, tensor(k[cached:]), tensor(v[cached:]), bounds, positions, int32(start + cached))
    kernels["ragged"](*args, output, lse, 1, *tail)
    mixed, levels = expected(q, k[cached:], v[cached:], 0, softcap, window)
    np.testing.assert_allclose(output.numpy(), mixed, atol=bound)
    np.testing.assert_allclose(lse.numpy(), levels, atol=bound)

    used = -(-cached // PAGE)
    table = (pages, int32(0, used), tensor(ids[:used]), int32((cached - 1) % PAGE + 1), int32(start), positions)
    kernels["paged"](tensor(scaled), bounds, *table, other, other_lse, 0, *tail)
    kernels["merge"](output, lse, other, other_lse)
    mixed, levels = expected(q, k, v, cached, softcap, window)
    np.testing.assert_allclose(output.numpy(), mixed, atol=bound)
    np.testing.assert_allclose(lse.numpy(), levels, atol=bound)

    kernels["append"](pages, tensor(k[cached:]), tensor(v[cached:]), tensor(slots[cached:]))
    output, lse = empty(1)
    table = (pages, int32(0, len(ids)), tensor(ids), int32((total - 1) % PAGE + 1), int32(start))
    kernels["decode"](tensor(scaled[-1:]), *table, int32(start + total - 1), output, lse, *tail)
    np.testing.assert_allclose(output.numpy()[0], mixed[-1], atol=bound)
    np.testing.assert_allclose(lse.numpy()[0], levels[-1], atol=bound)

    keys, values = (tensor(np.zeros((1, total, kv_heads, dim), dtype)) for _ in range(2))
    kernels["read"](pages, tensor(slots), keys, values, 0)
    assert np.array_equal(keys.numpy()[0], k)
    assert np.array_equal(values.numpy()[0], v)


def test_pages_are_copied_and_slots_moved() -> None:
    kernels = compiled({"copy": kv_pages.copy_page(2, 8, "float32"), "compact": kv_pages.compact(2, 8, "float32")})
    kernels_io = compiled({"append": kv_pages.append(2, 8, "float32"), "read": kv_pages.read(1, 2, 8, "float32")})
    k, v = np.random.default_rng(0).standard_normal((2, 7, 2, 8)).astype(np.float32)
    pages = tensor(np.zeros((3, 2, 2, PAGE, 8), np.float32))
    kernels_io["append"](pages, tensor(k), tensor(v), tensor(np.arange(7, dtype=np.int32)))
    kernels["copy"](pages, 0, 2, 7)
    kernels["compact"](pages, int32(0, 2), tensor(np.array([[1, 3], [PAGE + 4, 2 * PAGE]], np.int32)), 1)
    keys, values = (tensor(np.zeros((1, 4, 2, 8), np.float32)) for _ in range(2))
    kernels_io["read"](pages, int32(2 * PAGE + 6, 2 * PAGE, PAGE + 4, 3), keys, values, 0)
    assert np.array_equal(keys.numpy()[0], k[[6, 3, 1, 3]])
    assert np.array_equal(values.numpy()[0], v[[6, 3, 1, 3]])


def test_what_a_window_hides_does_not_count() -> None:
    """Cached tokens that are all out of the window leave the merged result as it was."""
    shape = attention.Shape(2, 1, 32, 0.0, cpu_of(TARGET), "float32")
    kernels = compiled({"paged": paged_attention.paged_prefill(shape), "merge": kv_pages.merge(2, 32, "float32")})
    rng = np.random.default_rng(0)
    pages = tensor(rng.standard_normal((1, 2, 1, PAGE, 32)).astype(np.float32))
    q = tensor(rng.standard_normal((1, 2, 32)).astype(np.float32))
    output, other = tensor(rng.standard_normal((1, 2, 32)).astype(np.float32)), tensor(np.ones((1, 2, 32), np.float32))
    lse, other_lse = (tensor(np.ones((1, 2), np.float32)) for _ in range(2))
    before = output.numpy().copy()
    table = (pages, int32(0, 1), int32(0), int32(PAGE), int32(0), int32(40))
    kernels["paged"](q, int32(0, 1), *table, other, other_lse, 0, 0, 1.0, 1.0, 10.0)
    kernels["merge"](output, lse, other, other_lse)
    np.testing.assert_allclose(output.numpy(), before, rtol=1e-6)
