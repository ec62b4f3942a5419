"""CPU mat-mat (mat-vec at one row) in TIR over weights of any storage, in float32 multiply-adds.

A block of columns is dequantized once and stays in cache while tiles of input rows pass over it.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.storage import Storage, over_weights
from duomem.compile.kernels.tile import COLUMNS, Cpu


@functools.cache
def fma_matmul(storage: Storage, n: int, k: int, cpu: Cpu, rows: int) -> Any:
    """PrimFunc y[1, m, n] = x[1, m, k] @ W.T, float32, m dynamic, in tiles of `rows` x COLUMNS."""
    blocks, lanes = -(-n // COLUMNS), cpu.lanes
    per_word = storage.per_word

    @T.macro
    def multiply(x, w, source, b, y, m):
        for t in T.serial((m + rows - 1) // rows):
            with T.sblock("tile"):
                total = T.sblock_alloc_buffer((rows, COLUMNS), "float32")
                for r in T.unroll(rows):
                    for c in T.vectorized(COLUMNS):
                        total[r, c] = T.float32(0)
                for i in T.serial(k):
                    for r in T.unroll(rows):
                        for c in T.vectorized(COLUMNS):
                            total[r, c] = total[r, c] + x[0, T.min(t * rows + r, m - 1), i] * T.Cast(
                                "float32", w[source, i, c]
                            )
                for r in T.unroll(rows):
                    if t * rows + r < m:
                        for c in T.vectorized(COLUMNS):
                            if b * COLUMNS + c < n:
                                y[0, t * rows + r, b * COLUMNS + c] = total[r, c]

    @T.macro
    def direct(x, w, scale, y, m):
        for b in T.parallel(blocks):
            multiply(x, w, b, b, y, m)

    @T.macro
    def dequantized(x, w, scale, y, m):
        for b in T.parallel(blocks):
            with T.sblock("strip"):
                strip = T.sblock_alloc_buffer((1, k, COLUMNS), "float32")
                for j in T.serial(k // per_word):
                    for c in T.serial(COLUMNS // lanes):
                        for i in T.unroll(per_word):
                            strip[0, j * per_word + i, T.ramp(c * lanes, 1, lanes)] = storage.values(
                                w, scale, b, j * per_word + i, c * lanes, lanes
                            )
                multiply(x, strip, 0, b, y, m)

    return over_weights(storage, n, k, dequantized if storage.grouped else direct, k, "float32", n)
