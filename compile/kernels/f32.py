"""CPU kernels in TIR over float32 weights (q0f32): mat-mat (mat-vec at one row) and embedding.

A weight matrix [N, K] arrives tiled as float32 [ceil(N/C), K, C]. See device/weights.py.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T


def matmul(n: int, k: int, columns: int, rows: int) -> Any:
    """PrimFunc y[m, n] = x[m, k] @ W.T, float32, m dynamic, in tiles of `rows` x `columns`."""
    blocks = -(-n // columns)

    @T.prim_func(private=True, s_tir=True)
    def f32_matmul(x_handle: T.handle, w_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        x = T.match_buffer(x_handle, (m, k), "float32")
        w = T.match_buffer(w_handle, (blocks, k, columns), "float32")
        y = T.match_buffer(y_handle, (m, n), "float32")
        for block in T.parallel(blocks):
            for tile in T.serial((m + rows - 1) // rows):
                with T.sblock("tile"):
                    b, t = T.axis.remap("SS", [block, tile])
                    total = T.sblock_alloc_buffer((rows, columns), "float32", scope="local")
                    for r in T.unroll(rows):
                        for c in T.vectorized(columns):
                            total[r, c] = T.float32(0)
                    for i in T.serial(k):
                        for r in T.unroll(rows):
                            for c in T.vectorized(columns):
                                total[r, c] = total[r, c] + x[T.min(t * rows + r, m - 1), i] * w[b, i, c]
                    for r in T.unroll(rows):
                        if t * rows + r < m:
                            for c in T.vectorized(columns):
                                if b * columns + c < n:
                                    y[t * rows + r, b * columns + c] = total[r, c]

    return f32_matmul


def embedding(n: int, k: int, columns: int) -> Any:
    """PrimFunc y[m, k] = W[ids[m]], float32; ids int32 below n, m dynamic."""
    blocks = -(-n // columns)

    @T.prim_func(private=True, s_tir=True)
    def f32_embedding(ids_handle: T.handle, w_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        ids = T.match_buffer(ids_handle, (m,), "int32")
        w = T.match_buffer(w_handle, (blocks, k, columns), "float32")
        y = T.match_buffer(y_handle, (m, k), "float32")
        for row, i in T.grid(m, k):
            with T.sblock("embedding"):
                r, j = T.axis.remap("SS", [row, i])
                y[r, j] = w[ids[r] // columns, j, ids[r] % columns]

    return f32_embedding
