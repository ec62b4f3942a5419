from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from duomem.compile.models.config import DecoderConfig, Weight
from duomem.compile.weights.mlc_layout import write_weights
from duomem.compile.weights.quantize import (
    PackedTensor,
    check_scheme,
    dequantize,
    load_stored,
    quantize,
    store,
    store_quantized,
    to_bfloat16,
)
from duomem.core.errors import UserError
from duomem.device.engine.schemes import SCHEMES
from duomem.device.engine.weights import read_tensor_cache

GROUPED = [name for name, scheme in SCHEMES.items() if scheme.is_quantized]
MATRIX = Weight("m.proj", ("m.proj.weight",), (40, 96))
VECTOR = Weight("m.norm.weight", ("m.norm.weight",), (96,))
EMBEDDING = Weight("model.embed_tokens", ("model.embed_tokens.weight",), (40, 96))
ROUNDING = {"float32": 2.0**-9, "float16": 2.0**-11}
"""Half a unit in the last place of a scale, relative to it: bfloat16 has 8 bits, float16 11."""
SMALLEST_HALF = 2.0**-25
"""Half of float16's smallest step: what rounding to it may cost however small the value is."""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def blocks(array: np.ndarray, rows: int = 7) -> Iterator[np.ndarray]:
    return (array[i : i + rows] for i in range(0, len(array), rows))


def stored(weight: Weight, array: np.ndarray, scheme: str) -> list[PackedTensor]:
    return list(store(weight, lambda: blocks(array), scheme))


def group_bound(w: np.ndarray, scheme: str) -> np.ndarray:
    """Most root mean square error of each group of w [N, K], [N, K / 32].

    Of the candidates for a group's scale the one with the least squared error is taken, and among them is MLC's
    own s = max|w| / l, l = 2^(bits - 1) - 1, rounded by at most e to a value r that can be stored. With r every
    w / r is within l (1 + e / r), so it is either rounded, off by r / 2, or cut to l, off by l e.
    """
    kind = SCHEMES[scheme]
    s = np.abs(w).reshape(*w.shape[:1], -1, 32).max(axis=-1).astype(np.float64) / -kind.qmin
    e = np.maximum(ROUNDING[kind.dtype] * s, SMALLEST_HALF if kind.dtype == "float16" else 0)
    return np.maximum((s + e) / 2, -kind.qmin * e) * (1 + 1e-5)


def group_errors(w: np.ndarray, back: np.ndarray) -> np.ndarray:
    error = (back.astype(np.float64) - w).reshape(*w.shape[:1], -1, 32)
    return np.sqrt((error**2).mean(axis=-1))


def mlc_dequantize(q: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    """MLC's formula one weight at a time: ((word >> bits (k % per word)) & mask - largest) * scale."""
    per_word, mask = 32 // bits, (1 << bits) - 1
    out = np.empty((q.shape[0], q.shape[1] * per_word), np.float32)
    for n in range(out.shape[0]):
        for k in range(out.shape[1]):
            level = (int(q[n, k // per_word]) >> (bits * (k % per_word)) & mask) - (mask >> 1)
            out[n, k] = np.float32(level) * np.float32(scale[n, k // 32])
    return out


@pytest.mark.parametrize("scheme", GROUPED)
@pytest.mark.parametrize("size", [1.0, 3e-7, 2e4])
def test_groups_are_within_the_bound(scheme: str, size: float) -> None:
    w = normal(64, 256) * np.float32(size)
    q, scale = quantize(w, scheme)
    assert q.dtype == np.uint32 and q.shape == (64, 8 * SCHEMES[scheme].bits)
    assert scale.dtype == np.float32 and scale.shape == (64, 8)
    assert np.all(group_errors(w, dequantize(q, scale)) <= group_bound(w, scheme))


@pytest.mark.parametrize("scheme", GROUPED)
@settings(max_examples=50, deadline=None)
@given(w=hnp.arrays(np.float32, (2, 32), elements=st.floats(-1e5, 1e5, width=32, allow_subnormal=False)))
def test_any_group_is_within_the_bound(scheme: str, w: np.ndarray) -> None:
    back = dequantize(*quantize(w, scheme))
    assert np.all(group_errors(w, back) <= group_bound(w, scheme) + 1e-30)


@pytest.mark.parametrize("seed", range(3))
def test_error_is_below_the_plain_rule(seed: int) -> None:
    """MLC's own: scale = max |w| / 7."""
    w = normal(64, 256, seed=seed)
    groups = w.reshape(-1, 32)
    scale = np.abs(groups).max(1, keepdims=True) / 7
    plain = float(((np.rint(groups / scale) * scale - groups) ** 2).sum())
    assert float(((dequantize(*quantize(w, "q4f32_1")) - w) ** 2).sum()) < 0.8 * plain


@pytest.mark.parametrize("scheme", ["q4f32_1", "q8f16_1"])
def test_mlc_reads_what_is_written(scheme: str) -> None:
    q, scale = quantize(normal(5, 64), scheme)
    assert np.array_equal(mlc_dequantize(q, scale, SCHEMES[scheme].bits), dequantize(q, scale))


@pytest.mark.parametrize("scheme", GROUPED)
def test_every_level_is_used(scheme: str) -> None:
    bits = SCHEMES[scheme].bits
    q, _ = quantize(normal(256, 256), scheme)
    codes = (q[..., None] >> np.arange(0, 32, bits, dtype=np.uint32)) & np.uint32((1 << bits) - 1)
    assert set(np.unique(codes)) == set(range(1 << bits))


def test_scales_survive_their_type() -> None:
    w = normal(8, 64)
    _, scale = quantize(w, "q4f32_1")
    assert np.array_equal(scale, to_bfloat16(scale))
    for scheme in ("q4f16_1", "q8f16_1"):
        _, scale = quantize(w, scheme)
        assert np.array_equal(scale, scale.astype(np.float16))


@pytest.mark.parametrize("scheme", GROUPED)
def test_zero_groups_stay_zero(scheme: str) -> None:
    w = np.zeros((2, 64), np.float32)
    w[0, 40] = -3.0
    assert np.array_equal(dequantize(*quantize(w, scheme)) != 0, w != 0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_round_trip_through_a_folder(scheme: str, tmp_path: Path) -> None:
    """Written in blocks of rows that fit no group of anything, read back; exact for what is kept as it is."""
    kind = SCHEMES[scheme]
    arrays = {weight: normal(*weight.shape, seed=i) for i, weight in enumerate((EMBEDDING, MATRIX, VECTOR))}
    write_weights((t for weight, array in arrays.items() for t in stored(weight, array, scheme)), tmp_path)
    records = read_tensor_cache(tmp_path)
    for weight, array in arrays.items():
        back = load_stored(weight, records, scheme)
        assert back.dtype == np.float32 and back.shape == weight.shape
        if kind.is_quantized and weight.is_matrix:
            assert np.all(group_errors(array, back) <= group_bound(array, scheme))
            assert np.array_equal(back, dequantize(*quantize(array, scheme)))
        elif kind.dtype == "float32":
            assert np.array_equal(back, array)
        else:
            assert np.all(np.abs(back - array) <= np.maximum(2.0**-11 * np.abs(array), SMALLEST_HALF))


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("q0f32", {"m.proj.weight": ("float32", (40, 96)), "m.norm.weight": ("float32", (96,))}),
        ("q0f16", {"m.proj.weight": ("float16", (40, 96)), "m.norm.weight": ("float16", (96,))}),
        (
            "q4f32_1",
            {
                "m.proj.q_weight": ("uint32", (40, 12)),
                "m.proj.q_scale": ("float32", (40, 3)),
                "m.norm.weight": ("float32", (96,)),
            },
        ),
        (
            "q4f16_1",
            {
                "m.proj.q_weight": ("uint32", (40, 12)),
                "m.proj.q_scale": ("float16", (40, 3)),
                "m.norm.weight": ("float16", (96,)),
            },
        ),
        (
            "q4f16_0",
            {
                "m.proj.q_weight": ("uint32", (12, 40)),
                "m.proj.q_scale": ("float16", (3, 40)),
                "model.embed_tokens.q_weight": ("uint32", (40, 12)),
                "model.embed_tokens.q_scale": ("float16", (40, 3)),
                "m.norm.weight": ("float16", (96,)),
            },
        ),
        (
            "q8f16_1",
            {
                "m.proj.q_weight": ("uint32", (40, 24)),
                "m.proj.q_scale": ("float16", (40, 3)),
                "m.norm.weight": ("float16", (96,)),
            },
        ),
    ],
)
def test_names_types_and_shapes_are_mlcs(scheme: str, expected: dict) -> None:
    found = {
        tensor.name: (tensor.dtype, tensor.shape)
        for weight in (EMBEDDING, MATRIX, VECTOR)
        for tensor in stored(weight, normal(*weight.shape), scheme)
    }
    assert {name: found[name] for name in expected} == expected
    for weight in (EMBEDDING, MATRIX):
        for tensor in stored(weight, normal(*weight.shape), scheme):
            assert tensor.array.shape == tensor.shape and str(tensor.array.dtype) == tensor.dtype


def test_kn_is_the_transpose_of_nk() -> None:
    w = normal(40, 96)
    nk, kn = ({t.name: t.array for t in stored(MATRIX, w, scheme)} for scheme in ("q4f16_1", "q4f16_0"))
    assert all(np.array_equal(nk[name], kn[name].T) for name in nk)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_refused(scheme: str, bad: float) -> None:
    for weight in (MATRIX, VECTOR):
        array = normal(*weight.shape)
        array.flat[-1] = bad
        with pytest.raises(UserError, match=rf"{weight.sources[0]}.*not finite"):
            [tensor.array for tensor in stored(weight, array, scheme)]


@pytest.mark.parametrize(
    ("scheme", "weight", "largest", "fix"),
    [
        ("q0f16", MATRIX, 65520.0, "q0f32"),
        ("q0f16", VECTOR, 1e6, "q0f32"),
        ("q4f16_1", VECTOR, 1e6, "q4f32_1"),
        ("q4f16_1", MATRIX, 1e6, "q4f32_1"),
        ("q4f16_0", MATRIX, 1e6, "q4f32_1"),
        ("q8f16_1", MATRIX, 1e7, "q4f32_1"),
    ],
)
def test_what_float16_cannot_hold_is_refused(scheme: str, weight: Weight, largest: float, fix: str) -> None:
    array = normal(*weight.shape)
    array.flat[5] = -largest
    with pytest.raises(UserError, match=f"{weight.sources[0]}: too large for float16: use --quant {fix}"):
        [tensor.array for tensor in stored(weight, array, scheme)]
    [tensor.array for tensor in stored(weight, array, fix)]


def test_the_largest_float16_is_kept() -> None:
    array = normal(*MATRIX.shape)
    array[0, 0] = 65504.0
    (tensor,) = stored(MATRIX, array, "q0f16")
    assert tensor.array[0, 0] == 65504.0


def test_scales_from_outside_are_checked() -> None:
    """GPTQ's go through the same door."""
    q, scale = quantize(normal(40, 96), "q4f16_1")
    scale[3, 1] = np.inf
    with pytest.raises(UserError, match="too large"):
        list(store_quantized(MATRIX, q, scale, "q4f16_1"))


@pytest.mark.parametrize("scheme", GROUPED)
def test_groups_must_be_whole(scheme: str) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 100, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = DecoderConfig(**sizes, vocab_size=9)
    with pytest.raises(UserError, match=r"config.json: model.layers.0.mlp.down_proj has 100 inputs.*q0f32 or q0f16"):
        check_scheme(scheme, config, "config.json")
    for plain in ("q0f32", "q0f16"):
        check_scheme(plain, config, "config.json")
