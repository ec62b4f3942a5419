from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from duomem.compile.quantise import dequantise_int4, quantise_int4, to_bfloat16


def plain_error(w: np.ndarray) -> float:
    """Squared error of MLC's own rule, scale = max |w| / 7."""
    groups = w.reshape(-1, 32)
    scale = np.abs(groups).max(1, keepdims=True) / 7
    return float(((np.rint(groups / scale) * scale - groups) ** 2).sum())


def mlc_dequantise(q: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """MLC's formula one weight at a time: ((word >> 4 (k % 8)) & 15 - 7) * scale."""
    out = np.empty((q.shape[0], q.shape[1] * 8), np.float32)
    for n in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[n, k] = np.float32((int(q[n, k // 8]) >> (4 * (k % 8)) & 15) - 7) * scale[n, k // 32]
    return out


@pytest.mark.parametrize("seed", range(3))
def test_error_is_below_the_plain_rule(seed: int) -> None:
    w = np.random.default_rng(seed).standard_normal((64, 256)).astype(np.float32)
    q, scale = quantise_int4(w)
    assert (q.dtype, q.shape, scale.dtype, scale.shape) == (np.uint32, (64, 32), np.float32, (64, 8))
    error = float(((dequantise_int4(q, scale) - w) ** 2).sum())
    assert error < 0.8 * plain_error(w)


def test_mlc_reads_what_is_written() -> None:
    w = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    q, scale = quantise_int4(w)
    assert np.array_equal(mlc_dequantise(q, scale), dequantise_int4(q, scale))


def test_scales_survive_bfloat16() -> None:
    _, scale = quantise_int4(np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32))
    assert np.array_equal(scale, to_bfloat16(scale))


def test_zero_groups_stay_zero() -> None:
    w = np.zeros((2, 64), np.float32)
    w[0, 40] = -3.0
    assert np.array_equal(dequantise_int4(*quantise_int4(w)) != 0, w != 0)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (2, 32), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)))
def test_no_weight_is_off_by_more_than_a_step(w: np.ndarray) -> None:
    back = dequantise_int4(*quantise_int4(w))
    assert np.all(np.isfinite(back))
    step = np.abs(w).max(axis=1) / 6
    assert np.all(np.abs(back - w).max(axis=1) <= 1.5 * step + 1e-30)
