"""Storing weights in MLC's schemes: float32 and float16 as they are, and groups of 32 in 4 or 8 bits.

A matrix is read, rounded and written in blocks of rows, so that its size in memory does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from duomem.compile.models.config import DecoderConfig, Weight
from duomem.core.errors import CompileError
from duomem.device.engine.schemes import GROUP, SCHEMES, Scheme, float32_scheme

_BLOCK = 4096 * GROUP
"""Weights rounded at once: what stays in a core's cache."""
_TINY = np.float32(1e-30)
DIVISORS = {4: (8.6, 8.0, 7.5, 7.0, 6.5, 6.0), 8: (128.5, 128.0, 127.0)}
"""Candidates for a group's scale, by bits: its largest weight over these."""

Blocks = Callable[[], Iterator[np.ndarray]]
"""A tensor's consecutive blocks of rows, anew at every call."""


@dataclass(frozen=True)
class PackedTensor:
    """A tensor ready to be written, block after block of its rows.

    `values`: how many of the model's weights it holds. A `half` float32 tensor holds bfloat16 values and is
    stored as such.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    blocks: Blocks
    values: int
    half: bool = False

    @classmethod
    def of(cls, name: str, array: np.ndarray, values: int | None = None, half: bool = False) -> PackedTensor:
        """A tensor that is in memory, by default of as many weights as it has elements."""
        count = array.size if values is None else values
        rows = max(1, _BLOCK * len(array) // array.size)

        def blocks() -> Iterator[np.ndarray]:
            return (array[i : i + rows] for i in range(0, len(array), rows))

        return cls(name, array.shape, str(array.dtype), blocks, count, half)

    @property
    def array(self) -> np.ndarray:
        """The whole tensor."""
        return np.concatenate(list(self.blocks()))


def check_scheme(scheme: str, config: DecoderConfig, where: str) -> None:
    """Raise CompileError unless every matrix of the model can be stored in `scheme`."""
    if SCHEMES[scheme].is_quantized:
        plain = " or ".join(name for name, other in SCHEMES.items() if not other.is_quantized)
        for weight in config.weights():
            if weight.is_matrix and weight.shape[1] % GROUP:
                raise CompileError(
                    f"{where}: {weight.name} has {weight.shape[1]} inputs, no multiple of {GROUP}: use --quant {plain}"
                )


def store(weight: Weight, blocks: Blocks, scheme: str) -> Iterator[PackedTensor]:
    """The tensors, in MLC's names, that hold `weight` in `scheme`.

    blocks: its float32 values by rows. Raises CompileError, now or when the tensor's blocks are read, on a
    value that is not finite or too large for the scheme.
    """
    kind = SCHEMES[scheme]
    if kind.is_quantized and weight.is_matrix:
        yield from store_quantized(weight, *quantize_blocks(weight, _finite(weight, blocks), scheme), scheme)
    else:
        name = weight.name + ".weight" if weight.is_matrix else weight.name
        size = math.prod(weight.shape)
        yield PackedTensor(name, weight.shape, kind.dtype, lambda: _narrowed(weight, blocks, kind), size)


def quantize_blocks(weight: Weight, blocks: Iterable[np.ndarray], scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """`quantize` of the matrix `weight`, which comes in blocks of rows."""
    n, groups = weight.shape[0], weight.shape[1] // GROUP
    q, scale = np.empty((n, groups * SCHEMES[scheme].bits), np.uint32), np.empty((n, groups), np.float32)
    row = 0
    for block in blocks:
        rows = slice(row, row + len(block))
        q[rows], scale[rows] = quantize(block, scheme)
        row += len(block)
    return q, scale


def store_quantized(weight: Weight, q: np.ndarray, scale: np.ndarray, scheme: str) -> Iterator[PackedTensor]:
    """The tensors that hold a matrix already quantized, as `quantize` gives it. Raises CompileError on a
    scale beyond the scheme's range.
    """
    kind = SCHEMES[scheme]
    if not np.isfinite(scale).all():
        raise _too_large(weight, kind)
    scale = scale.astype(kind.dtype)
    if kind.transposes(weight.name):
        q, scale = q.T, scale.T
    yield PackedTensor.of(weight.name + ".q_weight", q, math.prod(weight.shape))
    yield PackedTensor.of(weight.name + ".q_scale", scale, 0, half=kind.dtype == "float32")


def load_stored(weight: Weight, records: Mapping[str, Any], scheme: str) -> np.ndarray:
    """The float32 value of `weight` as stored in `scheme`, of its shape, offset included.

    records: of the model folder, by name (device.engine.weights.read_tensor_cache).
    """
    kind = SCHEMES[scheme]
    if not (kind.is_quantized and weight.is_matrix):
        name = weight.name + ".weight" if weight.is_matrix else weight.name
        return np.asarray(records[name].load(), np.float32)
    q, scale = (records[weight.name + end].load() for end in (".q_weight", ".q_scale"))
    if kind.transposes(weight.name):
        q, scale = np.ascontiguousarray(q.T), scale.T
    return dequantize(q, scale)


def quantize(w: np.ndarray, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, K] -> (uint32 [N, K * bits / 32], float32 [N, K / 32]); K is a multiple of 32.

    The first weight is in a word's lowest bits. A group's scale is signed, so that its largest weight may
    use the one code that the positive side has more. It is the best of a few candidates in squared error,
    refined once by least squares, and a value the scheme can store. MLC's dequantizer reads it. Group by
    group the squared error is never above that of MLC's own rule, the scale max|w| / -qmin.
    """
    n = len(w)
    kind = SCHEMES[scheme]
    groups = np.ascontiguousarray(w, np.float32).reshape(-1, GROUP)
    q = np.empty((len(groups), kind.bits), np.uint32)
    scale = np.empty(len(groups), np.float32)
    for i in range(0, len(groups), _BLOCK // GROUP):
        part = slice(i, i + _BLOCK // GROUP)
        codes, scale[part] = _quantize_groups(groups[part], kind)
        q[part] = pack(codes, scheme)
    return q.reshape(n, -1), scale.reshape(n, -1)


def dequantize(q: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The inverse, bits told by the shapes: (uint32 [N, K * bits / 32], [N, K / 32]) -> float32 [N, K]."""
    bits = q.shape[1] // scale.shape[1]
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    values = np.empty((*scale.shape, GROUP), np.float32)
    rows = max(1, _BLOCK // (scale.shape[1] * GROUP))
    for i in range(0, len(q), rows):
        part = slice(i, i + rows)
        codes = ((q[part, :, None] >> shifts) & np.uint32((1 << bits) - 1)).astype(np.float32)
        codes += 1 - (1 << (bits - 1))
        scales = scale[part].astype(np.float32)[:, :, None]
        np.multiply(codes.reshape(*scales.shape[:2], GROUP), scales, out=values[part])
    return values.reshape(len(q), -1)


def pack(codes: np.ndarray, scheme: str) -> np.ndarray:
    """float32 codes [G, 32], qmin..1 - qmin, -> uint32 [G, bits]."""
    kind = SCHEMES[scheme]
    raw = (codes - kind.qmin).astype(np.uint8)
    if kind.bits == 4:
        raw = raw[:, 0::2] | raw[:, 1::2] << np.uint8(4)
    return raw.view("<u4")


def round_scale(x: np.ndarray, scheme: Scheme) -> np.ndarray:
    """float32 scales as the nearest values `scheme` can store, still float32; tiny ones become 0.

    bfloat16 for float32 schemes, as MLC's f32-to-bf16 format keeps no more. Overflow gives infinity.
    """
    if scheme.dtype == "float32":
        rounded = to_bfloat16(x)
    else:
        with np.errstate(over="ignore"):
            rounded = x.astype(np.float16).astype(np.float32)
    return np.where(np.abs(rounded) < _TINY, np.float32(0), rounded)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest bfloat16 value, still float32."""
    bits = x.astype(np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def _finite(weight: Weight, blocks: Blocks) -> Iterator[np.ndarray]:
    for block in blocks():
        if not np.isfinite(block).all():
            raise CompileError(f"{weight.sources[0]}: holds a value that is not finite: copy the model again")
        yield block


def _narrowed(weight: Weight, blocks: Blocks, kind: Scheme) -> Iterator[np.ndarray]:
    """The blocks in the scheme's type."""
    for block in _finite(weight, blocks):
        with np.errstate(over="ignore"):
            stored = block.astype(kind.dtype, copy=False)
        if not np.isfinite(stored).all():
            raise _too_large(weight, kind)
        yield stored


def _too_large(weight: Weight, kind: Scheme) -> CompileError:
    wider = float32_scheme(kind.is_quantized)
    return CompileError(f"{weight.sources[0]}: too large for {kind.dtype}: use --quant {wider}")


def _quantize_groups(w: np.ndarray, kind: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """float32 [G, 32] -> (float32 codes [G, 32], float32 scale [G])."""
    largest = np.take_along_axis(w, np.abs(w).argmax(axis=1)[:, None], axis=1)[:, 0]
    first, *others = DIVISORS[kind.bits]
    scale = round_scale(largest / first, kind)
    best = _Rounding(scale, *_round(w, scale, kind))
    for divisor in others:
        best.improve(w, round_scale(largest / divisor, kind), kind)
    norm = _dot(best.codes, best.codes)
    refined = np.divide(_dot(w, best.codes), norm, out=np.zeros_like(norm), where=norm > 0)
    best.improve(w, round_scale(refined, kind), kind)
    return best.codes, best.scale


@dataclass
class _Rounding:
    """The best found so far for some groups: scale [G], codes [G, 32], squared error [G]."""

    scale: np.ndarray
    codes: np.ndarray
    error: np.ndarray

    def improve(self, w: np.ndarray, scale: np.ndarray, kind: Scheme) -> None:
        """Take `scale` where it is better."""
        codes, error = _round(w, scale, kind)
        wins = error < self.error
        self.codes[wins] = codes[wins]
        self.scale = np.where(wins, scale, self.scale)
        self.error = np.where(wins, error, self.error)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner product of each group, [G, 32] x [G, 32] -> [G]."""
    return np.einsum("gk,gk->g", a, b)


def _round(w: np.ndarray, scale: np.ndarray, kind: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Nearest codes [G, 32] for `scale` [G] and their squared error [G]."""
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    codes = w * inverse[:, None]
    np.rint(codes, out=codes)
    np.clip(codes, kind.qmin, 1 - kind.qmin, out=codes)
    with np.errstate(invalid="ignore"):
        rest = codes * scale[:, None]
        rest -= w
        return codes, _dot(rest, rest)
