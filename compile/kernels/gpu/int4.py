"""GPU kernels that multiply by a 4-bit matrix, with what follows the product done in the same dispatch.

A matrix [N, K] lies transposed: words uint32 [K/8, N], 8 codes along K a word, the lowest first, and scales float32
[K/32, N]; value = (code - 7) * scale. Neighbouring threads compute neighbouring columns of the result, so that they
read neighbouring words.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm import tirx
from tvm.script import tirx as T

from duomem.device.engine.schemes import GROUP

PER_WORD = 8
"""Codes a word holds."""

_LANES = 32
_SLICES = 8
_ROWS = 8
_COLUMNS = 4


@functools.cache
def matvec(n: int, k: int, residual: bool = False, gated: bool = False) -> Any:
    """PrimFunc: x [1, 1, k], words, scales -> y [1, 1, n] = W x, all float32.

    With `residual`: x, words, scales, r -> W x + r. With `gated` the matrix has 2n rows, the gate's and then the
    others, and y = silu(gate) * other. One barrier; each of 8 slices of K goes to a thread of its own.
    """
    columns = 2 if gated else 1
    words, rows = k // PER_WORD, n * columns
    per_slice = -(-words // _SLICES)

    @T.prim_func(private=True, s_tir=True)
    def matvec_kernel(
        x_handle: T.handle, word_handle: T.handle, scale_handle: T.handle, r_handle: T.handle, y_handle: T.handle
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        x = T.match_buffer(x_handle, (1, 1, k), "float32")
        word = T.match_buffer(word_handle, (words, rows), "uint32")
        scale = T.match_buffer(scale_handle, (k // GROUP, rows), "float32")
        r = T.match_buffer(r_handle, (1, 1, n), "float32")
        y = T.match_buffer(y_handle, (1, 1, n), "float32")
        for block in T.thread_binding(-(-n // _LANES), thread="blockIdx.x"):
            for part in T.thread_binding(_SLICES, thread="threadIdx.y"):
                for lane in T.thread_binding(_LANES, thread="threadIdx.x"):
                    with T.sblock("matvec"):
                        T.reads()
                        T.writes()
                        total = T.sblock_alloc_buffer((columns,), "float32", scope="local")
                        eight = T.sblock_alloc_buffer((1,), "float32", scope="local")
                        sums = T.sblock_alloc_buffer((columns, _SLICES, _LANES), "float32", scope="shared")
                        column = T.meta_var(T.min(block * _LANES + lane, n - 1))
                        for c in T.unroll(columns):
                            total[c] = T.float32(0)
                        for i in range(per_slice):
                            if part * per_slice + i < words:
                                w = T.meta_var(part * per_slice + i)
                                for c in T.unroll(columns):
                                    eight[0] = T.float32(0)
                                    for j in T.unroll(PER_WORD):
                                        code = T.meta_var((word[w, c * n + column] >> T.uint32(4 * j)) & T.uint32(15))
                                        eight[0] = eight[0] + x[0, 0, w * PER_WORD + j] * (
                                            T.Cast("float32", code) - T.float32(7)
                                        )
                                    total[c] = total[c] + eight[0] * scale[w // (GROUP // PER_WORD), c * n + column]
                        for c in T.unroll(columns):
                            sums[c, part, lane] = total[c]
                        T.tvm_storage_sync("shared")
                        if part == 0 and block * _LANES + lane < n:
                            for c in T.unroll(columns):
                                total[c] = T.float32(0)
                                for i in T.unroll(_SLICES):
                                    total[c] = total[c] + sums[c, i, lane]
                            if gated:
                                y[0, 0, column] = total[0] / (T.float32(1) + T.exp(-total[0])) * total[columns - 1]
                            elif residual:
                                y[0, 0, column] = total[0] + r[0, 0, column]
                            else:
                                y[0, 0, column] = total[0]

    return _without_residual(matvec_kernel, residual)


@functools.cache
def matmul(n: int, k: int, residual: bool = False) -> Any:
    """PrimFunc: x [1, s, k], words, scales -> y [1, s, n] = x W^T, all float32; with `residual`, and r, plus r.

    A thread computes 8 rows by 4 columns in registers: no shared memory and no barrier, which software
    rasterizers and GPUs with little shared memory pay dearly for.
    """
    words, width = k // PER_WORD, _LANES * _COLUMNS

    @T.prim_func(private=True, s_tir=True)
    def matmul_kernel(
        x_handle: T.handle, word_handle: T.handle, scale_handle: T.handle, r_handle: T.handle, y_handle: T.handle
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        s = T.int64()
        x = T.match_buffer(x_handle, (1, s, k), "float32")
        word = T.match_buffer(word_handle, (words, n), "uint32")
        scale = T.match_buffer(scale_handle, (k // GROUP, n), "float32")
        r = T.match_buffer(r_handle, (1, s, n), "float32")
        y = T.match_buffer(y_handle, (1, s, n), "float32")
        for rows in T.thread_binding((s + _ROWS - 1) // _ROWS, thread="blockIdx.y"):
            for block in T.thread_binding(-(-n // width), thread="blockIdx.x"):
                for lane in T.thread_binding(_LANES, thread="threadIdx.x"):
                    with T.sblock("matmul"):
                        T.reads()
                        T.writes()
                        total = T.sblock_alloc_buffer((_ROWS * _COLUMNS,), "float32", scope="local")
                        value = T.sblock_alloc_buffer((_COLUMNS * PER_WORD,), "float32", scope="local")
                        element = T.sblock_alloc_buffer((1,), "float32", scope="local")
                        first = T.meta_var(block * width + lane)
                        for i in T.unroll(_ROWS * _COLUMNS):
                            total[i] = T.float32(0)
                        for w in range(words):
                            for c in T.unroll(_COLUMNS):
                                column = T.meta_var(T.min(first + c * _LANES, n - 1))
                                for j in T.unroll(PER_WORD):
                                    value[c * PER_WORD + j] = (
                                        T.Cast("float32", (word[w, column] >> T.uint32(4 * j)) & T.uint32(15))
                                        - T.float32(7)
                                    ) * scale[w // (GROUP // PER_WORD), column]
                            for i in T.unroll(_ROWS):
                                for j in T.unroll(PER_WORD):
                                    element[0] = x[0, T.min(rows * _ROWS + i, s - 1), w * PER_WORD + j]
                                    for c in T.unroll(_COLUMNS):
                                        total[i * _COLUMNS + c] = (
                                            total[i * _COLUMNS + c] + element[0] * value[c * PER_WORD + j]
                                        )
                        for i in T.unroll(_ROWS):
                            for c in T.unroll(_COLUMNS):
                                if rows * _ROWS + i < s and first + c * _LANES < n:
                                    if residual:
                                        y[0, rows * _ROWS + i, first + c * _LANES] = (
                                            total[i * _COLUMNS + c] + r[0, rows * _ROWS + i, first + c * _LANES]
                                        )
                                    else:
                                        y[0, rows * _ROWS + i, first + c * _LANES] = total[i * _COLUMNS + c]

    return _without_residual(matmul_kernel, residual)


def _without_residual(kernel: Any, residual: bool) -> Any:
    """`kernel` (x, words, scales, r, y), without r unless it takes a residual."""
    x, words, scales, r, y = kernel.params
    params = [x, words, scales, r, y] if residual else [x, words, scales, y]
    return tirx.PrimFunc(params, kernel.body, kernel.ret_type, kernel.attrs)
