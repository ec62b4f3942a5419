"""The CPU kernel of RMS norm, alone or together with the residual addition before it.

Root and division are exact to float32, no reciprocal approximations.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm import tirx
from tvm.script import tirx as T

_LANES = 32


@functools.cache
def rms_norm(size: int, epsilon: float, add: bool, loop: Any) -> Any:
    """PrimFunc: x, weight [size] -> y = x / sqrt(mean(x * x) + epsilon) * weight; x and y [1, n, size].

    With `add`: x, residual, weight -> total = x + residual, and y of the total. `loop` runs over the rows:
    T.serial or T.parallel.
    """
    blocks = (size + _LANES - 1) // _LANES

    @T.prim_func(private=True, s_tir=True)
    def rms_norm_kernel(
        x_handle: T.handle,
        residual_handle: T.handle,
        weight_handle: T.handle,
        y_handle: T.handle,
        total_handle: T.handle,
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n = T.int32()
        x = T.match_buffer(x_handle, (1, n, size), "float32")
        residual = T.match_buffer(residual_handle, (1, n, size), "float32")
        weight = T.match_buffer(weight_handle, (size,), "float32")
        y = T.match_buffer(y_handle, (1, n, size), "float32")
        total = T.match_buffer(total_handle, (1, n, size), "float32")
        for row in loop(n):
            with T.sblock("row"):
                squares = T.sblock_alloc_buffer((_LANES,), "float32")
                value = T.sblock_alloc_buffer((_LANES,), "float32")
                power = T.sblock_alloc_buffer((1,), "float32")
                for c in T.vectorized(_LANES):
                    squares[c] = T.float32(0)
                for block in T.serial(blocks):
                    for c in T.vectorized(_LANES):
                        value[c] = x[0, row, T.min(block * _LANES + c, size - 1)]
                    if add:
                        for c in T.vectorized(_LANES):
                            value[c] = value[c] + residual[0, row, T.min(block * _LANES + c, size - 1)]
                        for c in T.vectorized(_LANES):
                            if block * _LANES + c < size:
                                total[0, row, block * _LANES + c] = value[c]
                    for c in T.vectorized(_LANES):
                        squares[c] = squares[c] + T.Select(block * _LANES + c < size, value[c] * value[c], T.float32(0))
                power[0] = T.float32(0)
                for c in T.unroll(_LANES):
                    power[0] = power[0] + squares[c]
                power[0] = T.float32(1) / T.sqrt(power[0] / T.float32(size) + T.float32(epsilon))
                for block in T.serial(blocks):
                    for c in T.vectorized(_LANES):
                        if block * _LANES + c < size:
                            if add:
                                y[0, row, block * _LANES + c] = (
                                    total[0, row, block * _LANES + c] * power[0] * weight[block * _LANES + c]
                                )
                            else:
                                y[0, row, block * _LANES + c] = (
                                    x[0, row, block * _LANES + c] * power[0] * weight[block * _LANES + c]
                                )

    kernel = rms_norm_kernel
    x, residual, weight, y, total = kernel.params
    params = [x, residual, weight, y, total] if add else [x, weight, y]
    return tirx.PrimFunc(params, kernel.body, kernel.ret_type, kernel.attrs)
