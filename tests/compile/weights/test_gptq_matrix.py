from __future__ import annotations

import numpy as np
import pytest

from duomem.compile.weights import gptq_matrix as module
from duomem.compile.weights.gptq_matrix import Gptq
from duomem.compile.weights.quantize import dequantize, quantize, round_scale, to_bfloat16
from duomem.device.engine.schemes import SCHEMES


def correlated(rows: int, k: int, seed: int = 0) -> np.ndarray:
    """Inputs as a network's are: of few directions, some columns large."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, k // 4)) @ rng.standard_normal((k // 4, k)) + rng.standard_normal((rows, k))
    return (x * np.exp(rng.standard_normal(k))).astype(np.float32)


def matrix(n: int, k: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)


def gptq(w: np.ndarray, hessian: np.ndarray, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    return Gptq(hessian, scheme).round(len(w), [w])


def output_error(x: np.ndarray, w: np.ndarray, stored: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.linalg.norm(x @ (dequantize(*stored) - w).T))


@pytest.mark.parametrize(
    ("scheme", "n", "k"),
    [("q4f32_1", 8, 32), ("q4f32_1", 48, 96), ("q4f32_1", 40, 256), ("q4f16_1", 48, 96), ("q8f16_1", 48, 96)],
)
def test_outputs_are_nearer_than_with_plain_rounding(scheme: str, n: int, k: int) -> None:
    x, w = correlated(512, k), matrix(n, k)
    q, scale = stored = gptq(w, x.T @ x, scheme)
    assert q.dtype == np.uint32 and q.shape == (n, k * SCHEMES[scheme].bits // 32)
    assert scale.dtype == np.float32 and scale.shape == (n, k // 32)
    assert np.array_equal(scale, round_scale(scale, SCHEMES[scheme]))
    assert output_error(x, w, stored) < 0.8 * output_error(x, w, quantize(w, scheme))


def test_scales_are_rounded_as_the_scheme_stores_them() -> None:
    x, w = correlated(512, 96), matrix(48, 96)
    bfloat16, half = (gptq(w, x.T @ x, scheme)[1] for scheme in ("q4f32_1", "q4f16_0"))
    assert np.array_equal(bfloat16, to_bfloat16(bfloat16)) and not np.array_equal(half, to_bfloat16(half))
    assert np.array_equal(half, half.astype(np.float16))


def test_rows_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that fused matrices are rounded as their parts would be."""
    x, w = correlated(256, 64), matrix(12, 64)
    rounding = Gptq(x.T @ x, "q4f32_1")
    whole = dequantize(*rounding.round(12, [w]))
    assert np.allclose(whole, dequantize(*rounding.round(12, [w[:5], w[5:]])), rtol=0, atol=1e-5)
    monkeypatch.setattr(module, "_ROWS", 5)
    assert np.allclose(whole, dequantize(*rounding.round(12, [w])), rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [32, 96])
def test_codes_are_those_of_the_inverse_hessians_factor(k: int) -> None:
    """As the paper has it, column by column in float64, for the scales chosen."""
    x, w = correlated(512, k), matrix(9, k)
    rounding = Gptq(x.T @ x, "q4f32_1")
    found = dequantize(*(stored := rounding.round(9, [w])))
    order = rounding._order
    h = (x.T @ x).astype(np.float64)[np.ix_(order, order)]
    h += 0.01 * h.diagonal().mean() * np.eye(k)
    factor = np.linalg.cholesky(np.linalg.inv(h)).T
    rest = w[:, order].astype(np.float64)
    scale = np.repeat(stored[1], 32, axis=1)[:, order]
    expected = np.empty_like(rest)
    for j in range(k):
        expected[:, j] = np.clip(np.rint(rest[:, j] / scale[:, j]), -7, 8) * scale[:, j]
        rest[:, j:] -= np.outer((rest[:, j] - expected[:, j]) / factor[j, j], factor[j, j:])
    assert np.mean(np.isclose(found[:, order], expected, rtol=0, atol=1e-5)) > 0.99


def test_scales_are_those_of_plain_rounding_where_all_inputs_are_alike() -> None:
    import torch

    w = matrix(300, 32)
    w[7] = 0
    found = module.group_scales(torch.from_numpy(w.T.copy()), torch.ones(32), SCHEMES["q4f32_1"]).numpy()
    assert np.mean(found == quantize(w, "q4f32_1")[1][:, 0]) > 0.98 and found[7] == 0


def test_groups_stay_whole_and_the_largest_inputs_go_first() -> None:
    importance = np.random.default_rng(0).random(128).astype(np.float32)
    importance[64:96] += 1
    order = module._order(importance)
    assert sorted(order) == list(range(128)) and set(order[:32]) == set(range(64, 96))
    for block in order.reshape(-1, 32):
        assert len(set(block // 32)) == 1 and np.all(np.diff(importance[block]) <= 0)


def test_the_weights_given_are_left_as_they_are() -> None:
    x, w = correlated(64, 64), matrix(4, 64)
    hessian, before = x.T @ x, w.copy()
    kept = hessian.copy()
    gptq(w, hessian, "q4f32_1")
    assert np.array_equal(w, before) and np.array_equal(hessian, kept)


@pytest.mark.parametrize("live", [0, 3])
def test_inputs_that_are_always_zero(live: int) -> None:
    x, w = np.zeros((16, 64), np.float32), matrix(4, 64)
    x[:, :live] = correlated(16, 32)[:, :live]
    back = dequantize(*gptq(w, x.T @ x, "q4f32_1"))
    assert np.all(np.isfinite(back)) and np.abs(back - w).max() < 1.0


def test_zero_weights_stay_zero() -> None:
    x = correlated(64, 64)
    assert not dequantize(*gptq(np.zeros((3, 64), np.float32), x.T @ x, "q4f32_1")).any()
