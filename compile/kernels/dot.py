"""CPU mat-vec in TIR over 4- and 8-bit weights with 8-bit dot products: nothing is dequantized.

The input is rounded to 23 bits a group of 32, x ~ (65536 a + 256 b + c) * s with a, b and c in int8: 16 bits cost
a small model's logits 1e-2. Sums over a group are exact integers, and only they become floats.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.byte_dot import WORDS, ByteDot
from duomem.compile.kernels.simd import largest_magnitude, sum_lanes, to_int
from duomem.compile.kernels.storage import Storage, over_weights
from duomem.compile.kernels.tile import COLUMNS, Cpu
from duomem.device.engine.schemes import GROUP

_LARGEST = (1 << 22) - 1
_PLANES = 3


@functools.cache
def dot_matvec(storage: Storage, n: int, k: int, cpu: Cpu) -> Any:
    """PrimFunc y[1, m, n] = x[1, m, k] @ W.T, float32, for m = 1 (any m is right, and slow)."""
    blocks, groups, lanes, bits = -(-n // COLUMNS), k // GROUP, cpu.lanes, storage.bits
    parts = COLUMNS // lanes
    dot = ByteDot(cpu, bits)
    zero, sums = dot.zero(storage.zero), dot.lanes

    def stored(q: Any, b: Any, g: Any) -> Any:
        """The loader of stored words of group g that ByteDot.codes takes."""
        return lambda word, column: storage.word(q, b, g * (GROUP * bits // 32) + word, column, lanes)

    @T.macro
    def round_group(x, r, g, words, step, offset):
        with T.sblock("round"):
            rest = T.sblock_alloc_buffer((GROUP,), "int32")
            largest = T.sblock_alloc_buffer((1,), "float32")
            plane = T.sblock_alloc_buffer((GROUP,), "int8")
            largest[0] = largest_magnitude(x[0, r, T.ramp(g * GROUP, 1, GROUP)], GROUP)
            step[g] = largest[0] * T.float32(1 / _LARGEST)
            largest[0] = T.float32(_LARGEST) / T.max(largest[0], T.float32(1e-30))
            rest[T.ramp(0, 1, GROUP)] = to_int(
                x[0, r, T.ramp(g * GROUP, 1, GROUP)] * T.broadcast(largest[0], GROUP), GROUP
            )
            for p in T.unroll(_PLANES):
                plane[T.ramp(0, 1, GROUP)] = T.Cast(f"int8x{GROUP}", rest[T.ramp(0, 1, GROUP)])
                words[g, p, T.ramp(0, 1, WORDS)] = T.reinterpret(
                    f"int32x{WORDS}", T.Shuffle([plane[T.ramp(0, 1, GROUP)]], dot.order)
                )
                offset[g, p] = sum_lanes(T.Cast(f"int32x{GROUP}", plane[T.ramp(0, 1, GROUP)])) * (-zero)
                rest[T.ramp(0, 1, GROUP)] = T.shift_right(
                    rest[T.ramp(0, 1, GROUP)] + T.broadcast(T.int32(128), GROUP), T.broadcast(T.int32(8), GROUP)
                )

    @T.macro
    def body(x, q, scale, y, m):
        words = T.alloc_buffer((groups, _PLANES, WORDS), "int32")
        step = T.alloc_buffer((groups,), "float32")
        offset = T.alloc_buffer((groups, _PLANES), "int32")
        for r in T.serial(m):
            for g in T.serial(groups):
                round_group(x, r, g, words, step, offset)
            for b in T.parallel(blocks):
                with T.sblock("block"):
                    total = T.sblock_alloc_buffer((COLUMNS,), "float32")
                    sum_ = T.sblock_alloc_buffer((_PLANES, parts * sums), dot.dtype)
                    part = T.sblock_alloc_buffer((_PLANES, COLUMNS), "int32")
                    level = T.sblock_alloc_buffer((COLUMNS,), "int32")
                    for c in T.unroll(parts):
                        total[T.ramp(c * lanes, 1, lanes)] = T.broadcast(T.float32(0), lanes)
                    for g in T.serial(groups):
                        for p in T.unroll(_PLANES):
                            for c in T.unroll(parts):
                                sum_[p, T.ramp(c * sums, 1, sums)] = dot.nothing()
                        for j in T.unroll(WORDS):
                            for c in T.unroll(parts):
                                level[T.ramp(c * lanes, 1, lanes)] = dot.codes(stored(q, b, g), j, c)
                                for p in T.unroll(_PLANES):
                                    sum_[p, T.ramp(c * sums, 1, sums)] = dot.add(
                                        sum_[p, T.ramp(c * sums, 1, sums)],
                                        level[T.ramp(c * lanes, 1, lanes)],
                                        T.broadcast(words[g, p, j], lanes),
                                    )
                        for c in T.unroll(parts):
                            for p in T.unroll(_PLANES):
                                part[p, T.ramp(c * lanes, 1, lanes)] = dot.total(
                                    sum_[p, T.ramp(c * sums, 1, sums)]
                                ) + T.broadcast(offset[g, p], lanes)
                            total[T.ramp(c * lanes, 1, lanes)] = total[T.ramp(c * lanes, 1, lanes)] + (
                                T.Cast(f"float32x{lanes}", part[2, T.ramp(c * lanes, 1, lanes)])
                                * T.broadcast(T.float32(65536), lanes)
                                + T.Cast(
                                    f"float32x{lanes}",
                                    part[1, T.ramp(c * lanes, 1, lanes)] * T.broadcast(T.int32(256), lanes)
                                    + part[0, T.ramp(c * lanes, 1, lanes)],
                                )
                            ) * (storage.scales(scale, b, g, c * lanes, lanes) * T.broadcast(step[g], lanes))
                    for c in T.vectorized(COLUMNS):
                        if b * COLUMNS + c < n:
                            y[0, r, b * COLUMNS + c] = total[c]

    return over_weights(storage, n, k, body, k, "float32", n)
