"""Weight quantisation: float32 as it is (q0f32) and MLC's 4-bit groups (q4f32_1).

q4f32_1 stores a weight w of a group of 32 along K as q = 0..15 with w ~ (q - 7) * scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from duomem.base.errors import UserError
from duomem.compile.models.config import LlamaConfig, Weight

GROUP = 32
LEAST, MOST = -7, 8
"""The levels: multiples of a group's scale that a weight may become."""

_ROWS_AT_ONCE = 4096
_TINY = np.float32(1e-30)
_DIVISORS = (8.6, 8.0, 7.5, 7.0, 6.5, 6.0)


@dataclass(frozen=True)
class Stored:
    """A tensor ready to be written. A `half` float32 tensor holds bfloat16 values and is stored as such."""

    name: str
    array: np.ndarray
    half: bool = False


def check_scheme(scheme: str, config: LlamaConfig, where: str) -> None:
    """Raise UserError unless every matrix of the model can be stored in `scheme`."""
    if scheme == "q4f32_1":
        for weight in config.weights():
            if len(weight.shape) == 2 and weight.shape[1] % GROUP:
                raise UserError(
                    f"{where}: {weight.name} has {weight.shape[1]} inputs, no multiple of {GROUP}: "
                    "use --quant q0f32"
                )


def store(weight: Weight, array: np.ndarray, scheme: str) -> Iterator[Stored]:
    """The tensors, in MLC's names, that hold `array` (float32 of `weight.shape`) in `scheme`."""
    if scheme == "q4f32_1" and array.ndim == 2:
        q, scale = quantise_int4(array)
        yield from store_int4(weight, q, scale)
    else:
        yield Stored(weight.name + ".weight", array)


def store_int4(weight: Weight, q: np.ndarray, scale: np.ndarray) -> Iterator[Stored]:
    """The tensors that hold a matrix already quantised, as `quantise_int4` gives it."""
    yield Stored(weight.name + ".q_weight", q)
    yield Stored(weight.name + ".q_scale", scale, half=True)


def quantise_int4(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, K] -> (uint32 [N, K/8], float32 [N, K/32]); K is a multiple of 32.

    Eight weights a word, the first in the lowest nibble. A group's scale is signed, so that its largest
    weight may use the one level the positive side has more (q - 7 = 8). It is the best of a few
    candidates in squared error, refined once by least squares, and a bfloat16 value, so that storing it
    in MLC's f32-to-bf16 format loses nothing. MLC's dequantiser, (q & 15) - 7 times scale, reads it.
    """
    n, k = w.shape
    q = np.empty((n, k // 8), np.uint32)
    scale = np.empty((n, k // GROUP), np.float32)
    for i in range(0, n, _ROWS_AT_ONCE):
        rows = slice(i, min(i + _ROWS_AT_ONCE, n))
        groups = np.ascontiguousarray(w[rows], np.float32).reshape(-1, GROUP)
        levels, scales = _quantise_groups(groups)
        q[rows] = pack_int4(levels).reshape(-1, k // 8)
        scale[rows] = scales.reshape(-1, k // GROUP)
    return q, scale


def dequantise_int4(q: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The inverse: (uint32 [N, K/8], float32 [N, K/32]) -> float32 [N, K]."""
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    levels = ((q[:, :, None] >> shifts) & np.uint32(15)).astype(np.float32) + LEAST
    n = q.shape[0]
    return (levels.reshape(n, -1, GROUP) * scale[:, :, None]).reshape(n, -1)


def group_scales(w: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Scales, bfloat16 values in float32 [G], for the groups `w` [G, 32], as `quantise_int4` chooses them but
    with the squared error of column k counted `importance[k]` times.
    """
    return _quantise_groups(w, importance)[1]


def _quantise_groups(w: np.ndarray, importance: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """float32 [G, 32] -> (float32 levels -7..8 [G, 32], float32 scale [G])."""
    largest = np.take_along_axis(w, np.abs(w).argmax(axis=1)[:, None], axis=1)[:, 0]
    best_scale = _as_scale(largest / _DIVISORS[0])
    best, best_error = _round(w, best_scale, importance)
    for divisor in _DIVISORS[1:]:
        best, best_scale, best_error = _better(
            w, _as_scale(largest / divisor), best, best_scale, best_error, importance
        )
    norm = _dot(best, best, importance)
    refined = np.divide(_dot(w, best, importance), norm, out=np.zeros_like(norm), where=norm > 0)
    best, best_scale, _ = _better(w, _as_scale(refined), best, best_scale, best_error, importance)
    return best, best_scale


def _better(
    w: np.ndarray,
    scale: np.ndarray,
    best: np.ndarray,
    best_scale: np.ndarray,
    best_error: np.ndarray,
    importance: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    levels, error = _round(w, scale, importance)
    wins = error < best_error
    best[wins] = levels[wins]
    return best, np.where(wins, scale, best_scale), np.where(wins, error, best_error)


def _dot(a: np.ndarray, b: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """Inner product of each group, [G, 32] x [G, 32] -> [G]."""
    return np.einsum("gk,gk->g", a, b) if importance is None else (a * b) @ importance


def _as_scale(x: np.ndarray) -> np.ndarray:
    """`x` as bfloat16 values; what is too small to divide by counts as zero."""
    return np.where(np.abs(x) < _TINY, np.float32(0), to_bfloat16(x))


def _round(
    w: np.ndarray, scale: np.ndarray, importance: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest levels [G, 32] for `scale` [G] and their squared error [G]."""
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    levels = w * inverse[:, None]
    np.rint(levels, out=levels)
    np.clip(levels, LEAST, MOST, out=levels)
    rest = levels * scale[:, None]
    rest -= w
    return levels, _dot(rest, rest, importance)


def pack_int4(levels: np.ndarray) -> np.ndarray:
    """float32 levels -7..8 [G, 32] -> uint32 [G, 4]."""
    nibbles = (levels - LEAST).astype(np.uint8)
    return (nibbles[:, 0::2] | nibbles[:, 1::2] << np.uint8(4)).view("<u4")


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest bfloat16 value, still float32."""
    bits = x.astype(np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)
