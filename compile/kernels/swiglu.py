"""The CPU kernel between the two halves of a feed-forward layer: y = activation(gate) * up, vectorised.

Left to the compiler, its exponential is one C library call a value.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
import math
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.exp2 import LOG2_E, exp2_lanes

_WIDTH = 16
_CUBE, _SLOPE = 0.044715, 2 * math.sqrt(2 / math.pi)


@functools.cache
def swiglu(size: int, activation: str = "silu") -> Any:
    """PrimFunc: x [1, m, 2 size] = (gate, up) -> y [1, m, size] = activation(gate) * up, float32.

    Both activations are gate / (1 + exp(-z)): "silu" has z = gate; "gelu_tanh", GELU's tanh form, has
    z = 2 sqrt(2 / pi) (gate + 0.044715 gate^3), since 1 + tanh(z / 2) = 2 / (1 + exp(-z)).
    """
    if activation not in ("silu", "gelu_tanh"):
        raise ValueError(f"activation {activation!r} is neither silu nor gelu_tanh")

    def exponent(gate: Any) -> Any:
        """-z in base 2."""
        if activation == "silu":
            return gate * T.float32(-LOG2_E)
        return gate * (T.float32(-LOG2_E * _SLOPE) + gate * gate * T.float32(-LOG2_E * _SLOPE * _CUBE))

    @T.prim_func(private=True, s_tir=True)
    def swiglu_kernel(x_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        x = T.match_buffer(x_handle, (1, m, 2 * size), "float32")
        y = T.match_buffer(y_handle, (1, m, size), "float32")
        for row in T.parallel(m):
            for block in T.serial((size + _WIDTH - 1) // _WIDTH):
                with T.sblock("swiglu"):
                    r, b = T.axis.remap("SS", [row, block])
                    part = T.sblock_alloc_buffer((_WIDTH,), "float32")
                    whole = T.sblock_alloc_buffer((_WIDTH,), "float32")
                    gate = T.sblock_alloc_buffer((_WIDTH,), "float32")
                    for c in T.vectorized(_WIDTH):
                        gate[c] = x[0, r, T.min(b * _WIDTH + c, size - 1)]
                    for c in T.vectorized(_WIDTH):
                        part[c] = T.max(T.min(exponent(gate[c]), T.float32(126)), T.float32(-126))
                    exp2_lanes(part, whole, _WIDTH)
                    for c in T.vectorized(_WIDTH):
                        if b * _WIDTH + c < size:
                            y[0, r, b * _WIDTH + c] = (
                                gate[c] / (T.float32(1) + part[c]) * x[0, r, size + b * _WIDTH + c]
                            )

    return swiglu_kernel
