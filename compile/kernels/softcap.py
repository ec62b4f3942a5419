"""The CPU kernel that caps logits softly: y = c tanh(x / c), vectorised, in place of a library call a value."""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.exp2 import LOG2_E, exp2_lanes

_WIDTH = 16


@functools.cache
def softcap(size: int, cap: float) -> Any:
    """PrimFunc: x [m, size] -> y [m, size] = cap tanh(x / cap) = cap (1 - 2 / (1 + exp(2 x / cap))), float32.

    The absolute error is a few float32 roundings of cap.
    """

    @T.prim_func(private=True, s_tir=True)
    def softcap_kernel(x_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        x = T.match_buffer(x_handle, (m, size), "float32")
        y = T.match_buffer(y_handle, (m, size), "float32")
        for row in T.serial(m):
            for block in T.parallel((size + _WIDTH - 1) // _WIDTH):
                with T.sblock("softcap"):
                    r, b = T.axis.remap("SS", [row, block])
                    part = T.sblock_alloc_buffer((_WIDTH,), "float32")
                    whole = T.sblock_alloc_buffer((_WIDTH,), "float32")
                    for c in T.vectorized(_WIDTH):
                        part[c] = x[r, T.min(b * _WIDTH + c, size - 1)] * T.float32(2 * LOG2_E / cap)
                    for c in T.vectorized(_WIDTH):
                        part[c] = T.max(T.min(part[c], T.float32(126)), T.float32(-126))
                    exp2_lanes(part, whole, _WIDTH)
                    for c in T.vectorized(_WIDTH):
                        if b * _WIDTH + c < size:
                            y[r, b * _WIDTH + c] = T.float32(cap) - T.float32(2 * cap) / (T.float32(1) + part[c])

    return softcap_kernel
