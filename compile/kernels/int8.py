"""CPU mat-mat (mat-vec at one row) in TIR over 4- and 8-bit weights, the input rounded to 8 bits a group of 32.

Sums over a group are exact integers, and only they become floats. Every peer on a CPU computes like this.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.simd import LINE, ByteDot, largest_magnitude, prefetch, sum_lanes, to_int
from duomem.compile.kernels.storage import Storage, over_weights
from duomem.compile.kernels.tile import COLUMNS, Cpu
from duomem.device.engine.schemes import GROUP

_LARGEST = 127
_WORDS = GROUP // 4


@functools.cache
def int8_matmul(storage: Storage, n: int, k: int, cpu: Cpu, one_row: bool, x_dtype: str = "float32") -> Any:
    """PrimFunc y[1, m, n] = round(x)[1, m, k] @ W.T, m dynamic; `one_row` when m is always 1. y is float32.

    x is rounded to int8 times a step, 1/127 of the largest of its group of 32. Each thread takes blocks of columns, and
    passes tiles of rows over them; the rows left over pass one by one.
    """
    blocks, groups, lanes, bits = -(-n // COLUMNS), k // GROUP, cpu.lanes, storage.bits
    dot = ByteDot(cpu, bits)
    sums = dot.lanes
    group_words, line_words = GROUP * bits // 32, LINE // 4
    lines = group_words * COLUMNS // line_words
    each_row = T.serial if one_row else T.parallel
    rows, per_tile = cpu.int8_tile

    @T.macro
    def round_group(x, r, g, words, step, offset):
        with T.sblock("round"):
            scale = T.sblock_alloc_buffer((1,), "float32")
            value = T.sblock_alloc_buffer((GROUP,), "float32")
            level = T.sblock_alloc_buffer((GROUP,), "int8")
            value[T.ramp(0, 1, GROUP)] = T.Cast(f"float32x{GROUP}", x[0, r, T.ramp(g * GROUP, 1, GROUP)])
            scale[0] = largest_magnitude(value[T.ramp(0, 1, GROUP)], GROUP)
            step[r, g] = scale[0] * T.float32(1 / _LARGEST)
            scale[0] = T.float32(_LARGEST) / T.max(scale[0], T.float32(1e-30))
            level[T.ramp(0, 1, GROUP)] = T.Cast(
                f"int8x{GROUP}", to_int(value[T.ramp(0, 1, GROUP)] * T.broadcast(scale[0], GROUP), GROUP)
            )
            words[r, g, T.ramp(0, 1, _WORDS)] = T.reinterpret(
                f"int32x{_WORDS}", T.Shuffle([level[T.ramp(0, 1, GROUP)]], dot.order)
            )
            offset[r, g] = sum_lanes(T.Cast(f"int32x{GROUP}", level[T.ramp(0, 1, GROUP)])) * (-dot.zero(storage.zero))

    def tile_macro(rows: int, columns: int) -> Any:
        """The macro that multiplies `rows` rows from `row` on by `columns` columns of block b from `first` on."""
        parts, fetch = columns // lanes, cpu.asks_ahead(rows)

        @T.macro
        def tile(words, step, offset, q, scale, y, b, first, row):
            with T.sblock("tile"):
                total = T.sblock_alloc_buffer((rows, columns), "float32")
                sum_ = T.sblock_alloc_buffer((rows, parts * sums), dot.dtype)
                level = T.sblock_alloc_buffer((columns,), "int32")
                factor = T.sblock_alloc_buffer((columns,), "float32")
                for r in T.unroll(rows):
                    for c in T.unroll(parts):
                        total[r, T.ramp(c * lanes, 1, lanes)] = T.broadcast(T.float32(0), lanes)
                for g in T.serial(groups):
                    if fetch:
                        for line in T.unroll(lines):
                            T.evaluate(
                                prefetch(
                                    q[
                                        T.min(b + 1, blocks - 1),
                                        g * group_words + line * line_words // COLUMNS,
                                        line * line_words % COLUMNS,
                                    ],
                                    2,
                                )
                            )
                    for r in T.unroll(rows):
                        for c in T.unroll(parts):
                            sum_[r, T.ramp(c * sums, 1, sums)] = dot.nothing()
                    for j in T.unroll(_WORDS):
                        for c in T.unroll(parts):
                            level[T.ramp(c * lanes, 1, lanes)] = dot.codes(
                                storage.word(q, b, g * group_words + j * bits // 8, first + c * lanes, lanes),
                                j,
                            )
                        for r in T.unroll(rows):
                            for c in T.unroll(parts):
                                sum_[r, T.ramp(c * sums, 1, sums)] = dot.add(
                                    sum_[r, T.ramp(c * sums, 1, sums)],
                                    level[T.ramp(c * lanes, 1, lanes)],
                                    T.broadcast(words[row + r, g, j], lanes),
                                )
                    for c in T.unroll(parts):
                        factor[T.ramp(c * lanes, 1, lanes)] = storage.scales(scale, b, g, first + c * lanes, lanes)
                    for r in T.unroll(rows):
                        for c in T.unroll(parts):
                            total[r, T.ramp(c * lanes, 1, lanes)] = total[r, T.ramp(c * lanes, 1, lanes)] + T.Cast(
                                f"float32x{lanes}",
                                dot.total(sum_[r, T.ramp(c * sums, 1, sums)]) + T.broadcast(offset[row + r, g], lanes),
                            ) * (factor[T.ramp(c * lanes, 1, lanes)] * T.broadcast(step[row + r, g], lanes))
                for r in T.unroll(rows):
                    for c in T.vectorized(columns):
                        if b * COLUMNS + first + c < n:
                            y[0, row + r, b * COLUMNS + first + c] = total[r, c]

        return tile

    tile, single = tile_macro(rows, per_tile), tile_macro(1, COLUMNS)

    @T.macro
    def body(x, q, scale, y, m):
        words = T.alloc_buffer((m, groups, _WORDS), "int32")
        step = T.alloc_buffer((m, groups), "float32")
        offset = T.alloc_buffer((m, groups), "int32")
        for r in each_row(m):
            for g in T.serial(groups):
                round_group(x, r, g, words, step, offset)
        for b in T.parallel(blocks):
            if one_row:
                single(words, step, offset, q, scale, y, b, 0, 0)
            else:
                for t in T.serial(m // rows):
                    for part in T.serial(COLUMNS // per_tile):
                        tile(words, step, offset, q, scale, y, b, part * per_tile, t * rows)
                for r in T.serial(m % rows):
                    single(words, step, offset, q, scale, y, b, 0, m // rows * rows + r)

    return over_weights(storage, n, k, body, k, x_dtype, n)
