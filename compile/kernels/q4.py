"""CPU kernels in TIR over 4-bit weights (q4f32_1): mat-vec for decode, mat-mat for prefill, embedding.

A weight matrix [N, K] arrives tiled: q uint8 [ceil(N/C), K/2, C], two weights a byte along K, the first
in the low nibble, and scale float32 [ceil(N/C), K/32, C]; w = (q - 7) * scale. See device/weights.py.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T

GROUP = 32
HALF = GROUP // 2


def matvec(n: int, k: int, columns: int) -> Any:
    """PrimFunc y[1, n] = x[1, k] @ W.T, float32.

    The offset of a group's levels is taken out of the inner loop: sum x (q - 7) = sum x q - 7 sum x.
    """
    blocks, groups = -(-n // columns), k // GROUP

    @T.prim_func(private=True, s_tir=True)
    def q4_matvec(x_handle: T.handle, q_handle: T.handle, scale_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        x = T.match_buffer(x_handle, (1, k), "float32")
        q = T.match_buffer(q_handle, (blocks, k // 2, columns), "uint8")
        scale = T.match_buffer(scale_handle, (blocks, groups, columns), "float32")
        y = T.match_buffer(y_handle, (1, n), "float32")
        offset = T.alloc_buffer((groups,), "float32")
        for g in T.serial(groups):
            offset[g] = T.float32(0)
            for i in T.serial(GROUP):
                offset[g] = offset[g] - T.float32(7) * x[0, g * GROUP + i]
        for block in T.parallel(blocks):
            with T.sblock("matvec"):
                b = T.axis.spatial(blocks, block)
                total = T.sblock_alloc_buffer((columns,), "float32", scope="local")
                partial = T.sblock_alloc_buffer((columns,), "float32", scope="local")
                pair = T.sblock_alloc_buffer((columns,), "int32", scope="local")
                for c in T.vectorized(columns):
                    total[c] = T.float32(0)
                for g in T.serial(groups):
                    for c in T.vectorized(columns):
                        partial[c] = offset[g]
                    for i in T.serial(HALF):
                        for c in T.vectorized(columns):
                            pair[c] = T.Cast("int32", q[b, g * HALF + i, c])
                        for c in T.vectorized(columns):
                            partial[c] = partial[c] + x[0, g * GROUP + 2 * i] * T.Cast(
                                "float32", T.bitwise_and(pair[c], 15)
                            )
                        for c in T.vectorized(columns):
                            partial[c] = partial[c] + x[0, g * GROUP + 2 * i + 1] * T.Cast(
                                "float32", T.shift_right(pair[c], 4)
                            )
                    for c in T.vectorized(columns):
                        total[c] = total[c] + partial[c] * scale[b, g, c]
                for c in T.vectorized(columns):
                    if b * columns + c < n:
                        y[0, b * columns + c] = total[c]

    return q4_matvec


def matmul(n: int, k: int, columns: int, rows: int) -> Any:
    """PrimFunc y[m, n] = x[m, k] @ W.T, float32, m dynamic.

    A strip of C outputs is dequantised once and stays in cache while tiles of `rows` inputs pass over it.
    """
    blocks, groups = -(-n // columns), k // GROUP

    @T.prim_func(private=True, s_tir=True)
    def q4_matmul(x_handle: T.handle, q_handle: T.handle, scale_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        x = T.match_buffer(x_handle, (m, k), "float32")
        q = T.match_buffer(q_handle, (blocks, k // 2, columns), "uint8")
        scale = T.match_buffer(scale_handle, (blocks, groups, columns), "float32")
        y = T.match_buffer(y_handle, (m, n), "float32")
        for block in T.parallel(blocks):
            with T.sblock("strip"):
                b = T.axis.spatial(blocks, block)
                w = T.sblock_alloc_buffer((k, columns), "float32")
                for g in T.serial(groups):
                    for i in T.serial(HALF):
                        for c in T.vectorized(columns):
                            w[g * GROUP + 2 * i, c] = scale[b, g, c] * T.Cast(
                                "float32", T.bitwise_and(T.Cast("int32", q[b, g * HALF + i, c]), 15) - 7
                            )
                        for c in T.vectorized(columns):
                            w[g * GROUP + 2 * i + 1, c] = scale[b, g, c] * T.Cast(
                                "float32", T.shift_right(T.Cast("int32", q[b, g * HALF + i, c]), 4) - 7
                            )
                for tile in T.serial((m + rows - 1) // rows):
                    with T.sblock("tile"):
                        t = T.axis.spatial((m + rows - 1) // rows, tile)
                        total = T.sblock_alloc_buffer((rows, columns), "float32", scope="local")
                        for r in T.unroll(rows):
                            for c in T.vectorized(columns):
                                total[r, c] = T.float32(0)
                        for i in T.serial(k):
                            for r in T.unroll(rows):
                                for c in T.vectorized(columns):
                                    total[r, c] = total[r, c] + x[T.min(t * rows + r, m - 1), i] * w[i, c]
                        for r in T.unroll(rows):
                            if t * rows + r < m:
                                for c in T.vectorized(columns):
                                    if b * columns + c < n:
                                        y[t * rows + r, b * columns + c] = total[r, c]

    return q4_matmul


def embedding(n: int, k: int, columns: int) -> Any:
    """PrimFunc y[m, k] = W[ids[m]], float32; ids int32 below n, m dynamic."""
    blocks, groups = -(-n // columns), k // GROUP

    @T.prim_func(private=True, s_tir=True)
    def q4_embedding(ids_handle: T.handle, q_handle: T.handle, scale_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        ids = T.match_buffer(ids_handle, (m,), "int32")
        q = T.match_buffer(q_handle, (blocks, k // 2, columns), "uint8")
        scale = T.match_buffer(scale_handle, (blocks, groups, columns), "float32")
        y = T.match_buffer(y_handle, (m, k), "float32")
        for row, i in T.grid(m, k):
            with T.sblock("embedding"):
                r, j = T.axis.remap("SS", [row, i])
                y[r, j] = scale[ids[r] // columns, j // GROUP, ids[r] % columns] * T.Cast(
                    "float32",
                    T.bitwise_and(
                        T.shift_right(
                            T.Cast("int32", q[ids[r] // columns, j // 2, ids[r] % columns]), (j % 2) * 4
                        ),
                        15,
                    )
                    - 7,
                )

    return q4_embedding
