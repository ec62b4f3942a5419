"""CPU mat-mat (mat-vec at one row) in TIR over 4- and 8-bit weights, the input rounded to 8 bits a group of 32.

Sums over a group are exact integers, and only they become floats. Every peer on a CPU computes like this.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.byte_dot import WORDS, ByteDot
from duomem.compile.kernels.simd import LINE, largest_magnitude, prefetch, stay_before, sum_lanes, to_int
from duomem.compile.kernels.storage import Storage, over_weights, span
from duomem.compile.kernels.tile import COLUMNS, Cpu
from duomem.device.engine.schemes import GROUP

_LARGEST = 127


@functools.cache
def int8_matmul(storage: Storage, n: int, k: int, cpu: Cpu, one_row: bool, x_dtype: str = "float32") -> Any:
    """PrimFunc y[1, m, n] = round(x)[1, m, k] @ W.T, m dynamic; `one_row` when m is always 1. y is float32.

    x is rounded to int8 times a step, 1/127 of the largest of its group of 32. Each thread takes blocks of columns, and
    passes tiles of rows over them; the rows left over pass in smaller tiles, the last one by one.
    """
    blocks, groups, lanes, bits = -(-n // COLUMNS), k // GROUP, cpu.lanes, storage.bits
    each_row = T.serial if one_row else T.parallel
    tiles = cpu.int8_tiles
    group_words, line_words = GROUP * bits // 32, LINE // 4
    lines = group_words * COLUMNS // line_words

    def keep_macro(dot: ByteDot) -> Any:
        """The macro that lays down a rounded group of a row as `dot` takes it: words, step, and what its sums lack."""
        run = WORDS if dot.bundle == 1 else dot.depth // 4

        def at(r: Any, g: Any) -> tuple[Any, Any]:
            return dot.at(r // dot.bundle * dot.bundle, r % dot.bundle, g, groups)

        @T.macro
        def keep(level, largest, r, g, words, step, offset, m):
            with T.sblock("keep"):
                word = T.sblock_alloc_buffer((WORDS,), "int32")
                lacking = T.sblock_alloc_buffer((1,), "int32")
                word[T.ramp(0, 1, WORDS)] = T.reinterpret(
                    f"int32x{WORDS}", T.Shuffle([level[T.ramp(0, 1, GROUP)]], dot.order)
                )
                for i in T.unroll(WORDS // run):
                    words[span(dot.word(at(r, g), i), run)] = word[span(i * run, run)]
                step[sum(at(r, g))] = largest * T.float32(1 / _LARGEST)
                lacking[0] = dot.offset(sum_lanes(T.Cast(f"int32x{GROUP}", level[T.ramp(0, 1, GROUP)])), storage.zero)
                for i in T.vectorized(dot.copies):
                    offset[sum(at(r, g)) * dot.copies + i] = lacking[0]

        return keep

    def keep_in_macro(tiles: tuple[tuple[int, int], ...]) -> Any:
        """The macro that lays down a rounded group for the first of `tiles` that takes the row."""
        rows = tiles[0][0]
        dot = ByteDot(cpu, bits, rows)
        keep = keep_macro(dot)
        if dot.bundle == 1:
            return keep
        keep_in_next = keep_in_macro(tiles[1:])

        @T.macro
        def keep_in(level, largest, r, g, words, step, offset, m):
            if r < m // rows * rows:
                keep(level, largest, r, g, words, step, offset, m)
            else:
                keep_in_next(level, largest, r, g, words, step, offset, m)

        return keep_in

    keep = keep_in_macro(tiles)

    @T.macro
    def round_group(x, r, g, words, step, offset, m):
        with T.sblock("round"):
            scale = T.sblock_alloc_buffer((2,), "float32")
            value = T.sblock_alloc_buffer((GROUP,), "float32")
            level = T.sblock_alloc_buffer((GROUP,), "int8")
            value[T.ramp(0, 1, GROUP)] = T.Cast(f"float32x{GROUP}", x[0, r, T.ramp(g * GROUP, 1, GROUP)])
            scale[0] = largest_magnitude(value[T.ramp(0, 1, GROUP)], GROUP)
            scale[1] = T.float32(_LARGEST) / T.max(scale[0], T.float32(1e-30))
            level[T.ramp(0, 1, GROUP)] = T.Cast(
                f"int8x{GROUP}", to_int(value[T.ramp(0, 1, GROUP)] * T.broadcast(scale[1], GROUP), GROUP)
            )
            keep(level, scale[0], r, g, words, step, offset, m)

    def stored(q: Any, b: Any, g: Any, first: Any) -> Any:
        """The loader of words of group g, from column `first` of block b on, that ByteDot.codes takes."""
        return lambda word, column: storage.word(q, b, g * group_words + word, first + column, lanes)

    def scales(scale: Any, b: Any, g: Any, first: Any) -> Any:
        """The loader of scales of group g, likewise."""
        return lambda column: storage.scales(scale, b, g, first + column, lanes)

    def following(q: Any, b: Any, g: Any, line: Any) -> Any:
        """Where a cache line of group g of the next block begins."""
        word = line * line_words
        return q[T.min(b + 1, blocks - 1), g * group_words + word // COLUMNS, word % COLUMNS]

    def tile_macro(rows: int, columns: int) -> Any:
        """The macro that multiplies `rows` rows from `row` on by `columns` columns of block b from `first` on."""
        dot = ByteDot(cpu, bits, rows)
        high, wide = dot.at_once(columns)
        kept, fetch = rows > high, cpu.asks_ahead(rows)
        down, across, sums = high // dot.rows, wide // dot.columns, dot.lanes

        def at(row: Any, u: Any, r: Any, g: Any) -> tuple[Any, Any]:
            return dot.at(row, u * high + r * dot.rows, g, groups)

        def register(u: Any, r: Any, s: Any, c: Any) -> Any:
            return T.ramp(((u * down + r) * (columns // dot.columns) + s * across + c) * lanes, 1, lanes)

        def lane(r: Any, c: Any) -> Any:
            register = r // dot.rows * (columns // dot.columns) + c // dot.columns
            return register * lanes + r % dot.rows * dot.columns + c % dot.columns

        @T.macro
        def unpack(level, q, b, g, first, i):
            for c in T.unroll(across):
                level[i if kept else 0, T.ramp(c * lanes, 1, lanes)] = dot.codes(stored(q, b, g, first), i, c)

        @T.macro
        def tile(words, step, offset, q, scale, y, b, first, row):
            with T.sblock("tile"):
                total = T.sblock_alloc_buffer((rows * columns,), "float32")
                sum_ = T.sblock_alloc_buffer((down, across * sums), dot.dtype)
                level = T.sblock_alloc_buffer((GROUP // dot.depth if kept else 1, across * lanes), "int32")
                factor = T.sblock_alloc_buffer((across * lanes,), "float32")
                for i in T.unroll(rows * columns // lanes):
                    total[T.ramp(i * lanes, 1, lanes)] = T.broadcast(T.float32(0), lanes)
                for g in T.serial(groups):
                    if fetch:
                        for line in T.unroll(lines):
                            T.evaluate(prefetch(following(q, b, g, line), 2))
                    for s in T.unroll(columns // wide):
                        if kept:
                            for i in T.unroll(GROUP // dot.depth):
                                unpack(level, q, b, g, first + s * wide, i)
                        for u in T.unroll(rows // high):
                            for r in T.unroll(down):
                                for c in T.unroll(across):
                                    sum_[r, T.ramp(c * sums, 1, sums)] = dot.begin(offset, at(row, u, r, g))
                            for i in T.unroll(GROUP // dot.depth):
                                if not kept:
                                    unpack(level, q, b, g, first + s * wide, i)
                                for r in T.unroll(down):
                                    for c in T.unroll(across):
                                        sum_[r, T.ramp(c * sums, 1, sums)] = dot.add(
                                            sum_[r, T.ramp(c * sums, 1, sums)],
                                            level[i if kept else 0, T.ramp(c * lanes, 1, lanes)],
                                            dot.inputs(words, at(row, u, r, g), i),
                                        )
                            for c in T.unroll(across):
                                factor[T.ramp(c * lanes, 1, lanes)] = dot.scales(
                                    scales(scale, b, g, first + s * wide), c
                                )
                            for r in T.unroll(down):
                                for c in T.unroll(across):
                                    total[register(u, r, s, c)] = total[register(u, r, s, c)] + dot.floats(
                                        sum_[r, T.ramp(c * sums, 1, sums)], offset, at(row, u, r, g)
                                    ) * (factor[T.ramp(c * lanes, 1, lanes)] * dot.steps(step, at(row, u, r, g)))
                            if dot.bundle > 1:
                                for r in T.unroll(down):
                                    for c in T.unroll(across):
                                        T.evaluate(stay_before(total[register(u, r, s, c)]))
                for r in T.unroll(rows):
                    for c in T.vectorized(columns):
                        if b * COLUMNS + first + c < n:
                            y[0, row + r, b * COLUMNS + first + c] = total[lane(r, c)]

        return tile

    def pass_macro(index: int) -> Any:
        """The macro that passes the tiles from `index` on over block b, each over the rows left by those before."""
        rows, columns = tiles[index]
        before = tiles[index - 1][0] if index else 0
        tile = tile_macro(rows, columns)

        def taken(m: Any) -> Any:
            return m // before * before if before else 0

        def left(m: Any) -> Any:
            return m % before if before else m

        @T.macro
        def run(words, step, offset, q, scale, y, b, m):
            for t in T.serial(left(m) // rows):
                for part in T.serial(COLUMNS // columns):
                    tile(words, step, offset, q, scale, y, b, part * columns, taken(m) + t * rows)

        if index + 1 == len(tiles):
            return run
        run_next = pass_macro(index + 1)

        @T.macro
        def run_all(words, step, offset, q, scale, y, b, m):
            run(words, step, offset, q, scale, y, b, m)
            run_next(words, step, offset, q, scale, y, b, m)

        return run_all

    alone, passes = tile_macro(1, COLUMNS), pass_macro(0)

    @T.macro
    def body(x, q, scale, y, m):
        words = T.alloc_buffer((m * groups * WORDS,), "int32")
        step = T.alloc_buffer((m * groups,), "float32")
        offset = T.alloc_buffer((m * groups * ByteDot(cpu, bits).copies,), "int32")
        for r in each_row(m):
            for g in T.serial(groups):
                round_group(x, r, g, words, step, offset, m)
        for b in T.parallel(blocks):
            if one_row:
                alone(words, step, offset, q, scale, y, b, 0, 0)
            else:
                passes(words, step, offset, q, scale, y, b, m)

    return over_weights(storage, n, k, body, k, x_dtype, n)
