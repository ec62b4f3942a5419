"""The CPU kernel between the two halves of a feed-forward layer: y = silu(gate) * up, vectorised.

Left to the compiler, its exponential is one C library call a value.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.attention import LOG2_E, exp2_part

_WIDTH = 16


def swiglu(size: int) -> Any:
    """PrimFunc: x [m, 2 size] = (gate, up) -> y [m, size] = gate / (1 + exp(-gate)) * up, float32."""

    @T.prim_func(private=True, s_tir=True)
    def swiglu_kernel(x_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        x = T.match_buffer(x_handle, (m, 2 * size), "float32")
        y = T.match_buffer(y_handle, (m, size), "float32")
        for row in T.parallel(m):
            for block in T.serial((size + _WIDTH - 1) // _WIDTH):
                with T.sblock("swiglu"):
                    r, b = T.axis.remap("SS", [row, block])
                    part = T.sblock_alloc_buffer((_WIDTH,), "float32", scope="local")
                    whole = T.sblock_alloc_buffer((_WIDTH,), "float32", scope="local")
                    gate = T.sblock_alloc_buffer((_WIDTH,), "float32", scope="local")
                    for c in T.vectorized(_WIDTH):
                        gate[c] = x[r, T.min(b * _WIDTH + c, size - 1)]
                    for c in T.vectorized(_WIDTH):
                        part[c] = T.max(T.min(gate[c] * T.float32(-LOG2_E), T.float32(126)), T.float32(-126))
                    for c in T.vectorized(_WIDTH):
                        whole[c] = T.floor(part[c])
                    for c in T.vectorized(_WIDTH):
                        part[c] = exp2_part(part[c] - whole[c]) * T.reinterpret(
                            "float32", T.shift_left(T.Cast("int32", whole[c]) + 127, 23)
                        )
                    for c in T.vectorized(_WIDTH):
                        if b * _WIDTH + c < size:
                            y[r, b * _WIDTH + c] = (
                                gate[c] / (T.float32(1) + part[c]) * x[r, size + b * _WIDTH + c]
                            )

    return swiglu_kernel
