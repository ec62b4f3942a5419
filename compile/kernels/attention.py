"""CPU attention in TIR: the core over one tile of queries, and a tile of several new tokens.

A tile is a few rows, i.e. pairs of a new token and a query head of one key head's group, against a run of
pages of PAGE tokens. Keys lie transposed in a page, [d, PAGE], so that scores are multiply-adds of whole
vectors; values lie as [PAGE, d]. Softmax is the running one of flash attention, CHUNK pages at a time. The
kernels have the signatures TVM's cache calls; rotary_mode, rope_* and what else is not matched go unread.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from duomem.compile.kernels.exp2 import LOG2_E, exp2_lanes, exp2_part, exp2_whole
from duomem.compile.kernels.simd import LINE, prefetch
from duomem.compile.kernels.tile import Cpu

PAGE = 16
CHUNK = 16
"""Pages whose scores are held at once."""

MASKED = -5e4
_FLOOR = -100.0
"""Exponent of what is masked: weighs nothing, and times a value is no denormal, which would be slow."""
_MAX_ROWS = 8
_STRETCH = 16
"""Elements of a head between two requests for memory ahead: within a loop that has one, sums would go to memory."""
_AHEAD = 2
"""Pages between the keys that are read and those that memory is asked for."""


@dataclass(frozen=True)
class Shape:
    """What attention kernels are generated for. softcap: 0 for none, see `score_factor`.

    dtype: of queries, keys, values and the output, "float32" or "float16"; sums are float32 in either case.
    """

    heads: int
    kv_heads: int
    head_dim: int
    softcap: float
    cpu: Cpu
    dtype: str

    @property
    def group(self) -> int:
        """Query heads a key head serves."""
        return self.heads // self.kv_heads

    @property
    def vectors(self) -> int:
        """Registers that hold a float32 for each token of a page."""
        return -(-PAGE // self.cpu.lanes)

    @property
    def rows(self) -> int:
        """Rows of a tile of several tokens: as many as the registers hold the sums of a page of, at most 8."""
        return max(1, min(_MAX_ROWS, (self.cpu.vector_registers - self.vectors - 1) // self.vectors))

    @property
    def decode_rows(self) -> int:
        """Rows of a tile of one token: the group, or an even part of it if it is more than `rows`."""
        tiles = -(-self.group // self.rows)
        return -(-self.group // tiles)

    def columns(self, rows: int) -> int:
        """Elements of a value to add up at once: the largest part of a head that fits the registers with its sums."""
        parts = (self.head_dim // n for n in range(1, self.head_dim + 1) if self.head_dim % n == 0)
        budget = (self.cpu.vector_registers - 1) // (rows + 1)
        return next((part for part in parts if -(-part // self.cpu.lanes) <= budget), 1)

    def pages(self, rows: int) -> int:
        """Pages whose scores are added up at once: two if the registers hold their sums, keys and queries."""
        return 2 if 2 * rows * self.vectors + rows + self.vectors <= self.cpu.vector_registers else 1


def score_factor(scale: float, softcap: float) -> float:
    """What queries are multiplied by before they reach these kernels, for scores scale * q.k.

    Without a cap it makes q.k the score in base 2; with one, the power of two its tanh is made of.
    """
    return scale * 2 * LOG2_E / softcap if softcap else scale * LOG2_E


def attend_macro(shape: Shape, rows: int, fetch: bool) -> Any:
    """The macro that attends a tile of `rows` queries to the pages first_page..end_page of one key head.

    queries [rows, d]; row r sees the tokens low[r] <= token < high[r], of which `end` is the largest bound.
    `place(page)` is where page number `page` lies; `key(place, i, token)` and `value(place, token, i)` read it.
    With `fetch` the memory of the next keys and values is asked for ahead: for few rows, which wait for memory.
    top [rows], weight [rows, PAGE] and mixed [rows, d] are set to the largest score in base 2, the lanes of the
    sum of 2**(score - top), and the values weighted so.
    """
    head_dim, softcap, columns, width = shape.head_dim, shape.softcap, shape.columns(rows), shape.pages(rows)
    stretch = math.gcd(head_dim, _STRETCH)
    per_line = LINE // np.dtype(shape.dtype).itemsize
    lines = max(1, stretch * PAGE // per_line)

    @T.macro
    def attend(queries, low, high, first_page, end_page, end, place, key, value, top, weight, mixed):
        scores = T.sblock_alloc_buffer((rows, CHUNK, PAGE), "float32")
        total = T.sblock_alloc_buffer((rows, width, PAGE), "float32")
        lanes = T.sblock_alloc_buffer((rows, PAGE), "float32")
        whole = T.sblock_alloc_buffer((PAGE,), "float32")
        part = T.sblock_alloc_buffer((PAGE,), "float32")
        sums = T.sblock_alloc_buffer((rows, columns), "float32")
        places = T.sblock_alloc_buffer((width,), "int32")
        following = T.sblock_alloc_buffer((width,), "int32")
        factor = T.sblock_alloc_buffer((rows,), "float32")
        bound = T.sblock_alloc_buffer((4,), "int32")  # an expression would be computed for each lane
        bound[0] = first_page
        bound[1] = end_page
        bound[2] = end
        for r in T.unroll(rows):
            top[r] = T.float32(MASKED)
            for c in T.vectorized(PAGE):
                weight[r, c] = T.float32(0)
            for i in T.vectorized(head_dim):
                mixed[r, i] = T.float32(0)
        for chunk in T.serial((bound[1] - bound[0] + CHUNK - 1) // CHUNK):
            bound[3] = bound[0] + chunk * CHUNK
            base = T.meta_var(bound[3])
            pages = T.meta_var(T.min(CHUNK, bound[1] - base))
            for r in T.unroll(rows):
                for c in T.vectorized(PAGE):
                    lanes[r, c] = T.float32(MASKED)
            for run in T.serial((pages + width - 1) // width):
                for h in T.unroll(width):
                    for r in T.unroll(rows):
                        for c in T.vectorized(PAGE):
                            total[r, h, c] = T.float32(0)
                    places[h] = place(T.min(base + run * width + h, bound[1] - 1))
                    if fetch:
                        following[h] = place(T.min(base + run * width + h + _AHEAD, (bound[2] - 1) // PAGE))
                for block in T.serial(head_dim // stretch):
                    if fetch:
                        for h in T.unroll(width):
                            for line in T.unroll(lines):
                                at = T.meta_var((block * lines + line) * per_line)
                                T.evaluate(prefetch(key(following[h], at // PAGE, at % PAGE), 3))
                                T.evaluate(prefetch(value(places[h], at // head_dim, at % head_dim), 2))
                    for i in T.serial(stretch):
                        for h in T.unroll(width):
                            for r in T.unroll(rows):
                                for c in T.vectorized(PAGE):
                                    total[r, h, c] = (
                                        total[r, h, c]
                                        + T.Cast("float32", key(places[h], block * stretch + i, c))
                                        * queries[r, block * stretch + i]
                                    )
                for h in T.unroll(width):
                    for r in T.unroll(rows):
                        if softcap > 0:
                            for c in T.vectorized(PAGE):
                                part[c] = T.max(T.min(total[r, h, c], T.float32(-_FLOOR)), T.float32(_FLOOR))
                            exp2_lanes(part, whole, PAGE)
                            for c in T.vectorized(PAGE):
                                total[r, h, c] = T.float32(softcap * LOG2_E) * (
                                    T.float32(1) - T.float32(2) / (T.float32(1) + part[c])
                                )
                        for c in T.vectorized(PAGE):
                            total[r, h, c] = T.Select(
                                T.And(
                                    (base + run * width + h) * PAGE + c >= low[r],
                                    (base + run * width + h) * PAGE + c < high[r],
                                ),
                                total[r, h, c],
                                T.float32(MASKED),
                            )
                        for c in T.vectorized(PAGE):
                            scores[r, run * width + h, c] = total[r, h, c]
                        for c in T.vectorized(PAGE):
                            lanes[r, c] = T.max(lanes[r, c], total[r, h, c])
            for r in T.unroll(rows):
                factor[r] = top[r]
                for c in T.unroll(4):
                    top[r] = T.max(
                        top[r], T.max(T.max(lanes[r, c], lanes[r, 4 + c]), T.max(lanes[r, 8 + c], lanes[r, 12 + c]))
                    )
                factor[r] = power_of_two(factor[r] - top[r])
                for c in T.vectorized(PAGE):
                    weight[r, c] = weight[r, c] * factor[r]
                for page in T.serial((pages + width - 1) // width * width):
                    for c in T.vectorized(PAGE):
                        part[c] = T.max(scores[r, page, c] - top[r], T.float32(_FLOOR))
                    exp2_lanes(part, whole, PAGE)
                    for c in T.vectorized(PAGE):
                        scores[r, page, c] = part[c]
                    for c in T.vectorized(PAGE):
                        weight[r, c] = weight[r, c] + part[c]
            for piece in T.serial(head_dim // columns):
                for r in T.unroll(rows):
                    for i in T.vectorized(columns):
                        sums[r, i] = mixed[r, piece * columns + i] * factor[r]
                for page in T.serial(pages):
                    places[0] = place(base + page)
                    for token in T.serial(T.min(PAGE, bound[2] - (base + page) * PAGE)):
                        for r in T.unroll(rows):
                            for i in T.vectorized(columns):
                                sums[r, i] = (
                                    sums[r, i]
                                    + T.Cast("float32", value(places[0], token, piece * columns + i))
                                    * scores[r, page, token]
                                )
                for r in T.unroll(rows):
                    for i in T.vectorized(columns):
                        mixed[r, piece * columns + i] = sums[r, i]

    return attend


def power_of_two(x: Any) -> Any:
    """2**x for float32 x <= 0, not below 2**-100."""
    bounded = T.max(x, T.float32(_FLOOR))
    return exp2_part(bounded - T.floor(bounded)) * exp2_whole(T.floor(bounded))


def tile_macro(shape: Shape) -> Any:
    """The macro that computes one tile of rows of several new tokens of a sequence, as softmax(q k^T) v.

    Its `count` tokens begin at row `first` of q and output [n, heads, d] and lse [n, heads] (base 2). Token t
    sees the first visible + t * causal tokens, and of them those after behind + t - window. `place`, `key` and
    `value` as in `attend_macro`.
    """
    rows, group, head_dim = shape.rows, shape.group, shape.head_dim
    attend = attend_macro(shape, rows, fetch=False)

    @T.macro
    def tile(q, first, count, head, number, visible, causal, behind, window, place, key, value, output, lse):
        with T.sblock("tile"):
            T.reads()
            T.writes()
            queries = T.sblock_alloc_buffer((rows, head_dim), "float32")
            low = T.sblock_alloc_buffer((rows,), "int32")
            high = T.sblock_alloc_buffer((rows,), "int32")
            top = T.sblock_alloc_buffer((rows,), "float32")
            weight = T.sblock_alloc_buffer((rows, PAGE), "float32")
            mixed = T.sblock_alloc_buffer((rows, head_dim), "float32")
            r0 = T.meta_var(number * rows)
            last = T.meta_var(count * group - 1)
            for r in T.unroll(rows):
                low[r] = T.max(behind + T.min(r0 + r, last) // group - window + 1, 0)
                high[r] = visible + T.min(r0 + r, last) // group * causal
                for i in T.vectorized(head_dim):
                    queries[r, i] = T.Cast(
                        "float32",
                        q[first + T.min(r0 + r, last) // group, head * group + T.min(r0 + r, last) % group, i],
                    )
            attend(
                queries,
                low,
                high,
                low[0] // PAGE,
                (high[rows - 1] + PAGE - 1) // PAGE,
                high[rows - 1],
                place,
                key,
                value,
                top,
                weight,
                mixed,
            )
            for r in T.unroll(rows):
                for c in T.unroll(PAGE - 1):
                    weight[r, 0] = weight[r, 0] + weight[r, c + 1]
                weight[r, 0] = T.max(weight[r, 0], T.float32(1e-30))
                if r0 + r <= last:
                    for i in T.vectorized(head_dim):
                        output[first + (r0 + r) // group, head * group + (r0 + r) % group, i] = T.Cast(
                            shape.dtype, mixed[r, i] / weight[r, 0]
                        )
                    lse[first + (r0 + r) // group, head * group + (r0 + r) % group] = top[r] + T.log2(weight[r, 0])

    return tile


def window_of(sm_scale: Any) -> Any:
    """The layer's window in tokens; TVM's cache hands on one number a layer, and here that is it (0: none)."""
    return T.Select(sm_scale > T.float32(0), T.Cast("int32", sm_scale), T.int32(1 << 30))
