"""2**x in TIR without a library call, so that a loop over it is vectorised. Shared by softmax and SwiGLU."""

# No postponed annotations here: TVMScript evaluates them while it parses.
import math
from typing import Any

from tvm.script import tirx as T

LOG2_E = math.log2(math.e)
_EXP2 = [math.sqrt(2) * math.log(2) ** i / math.factorial(i) for i in range(7)]


def exp2_part(x: Any) -> Any:
    """2**x for 0 <= x < 1 by the Taylor polynomial around 1/2; relative error 1.2e-7."""
    t = x - T.float32(0.5)
    value = T.float32(_EXP2[-1])
    for coefficient in reversed(_EXP2[:-1]):
        value = value * t + T.float32(coefficient)
    return value


def exp2_whole(x: Any) -> Any:
    """2**x for a float32 x that is a whole number within -126..127, put together from its bits."""
    return T.reinterpret("float32", T.shift_left(T.Cast("int32", x) + 127, 23))


@T.macro
def exp2_lanes(part, whole, lanes):
    """part[c] = 2**part[c], whole[c] overwritten, for `lanes` values within -126..126."""
    for c in T.vectorized(lanes):
        whole[c] = T.floor(part[c])
    for c in T.vectorized(lanes):
        part[c] = exp2_part(part[c] - whole[c]) * exp2_whole(whole[c])
