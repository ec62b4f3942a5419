"""Vector operations TIR has no word for: reductions, rounding, 16-bit halves.

Expressions, to be used inside TVMScript; `lanes` counts 32-bit lanes.
"""

from typing import Any

from tvm import tirx
from tvm.script import tirx as T

LINE = 64
"""Bytes of a cache line."""
ROUND = 12582912.0
ROUND_BITS = 0x4B400000
"""A float32 and its bits: whole numbers up to 2**22 added to either give the same."""


def largest_magnitude(x: Any, lanes: int) -> Any:
    """float32: the largest |x| of a vector; NaN if it holds one."""
    bits = T.bitwise_and(T.reinterpret(f"int32x{lanes}", x), T.broadcast(T.int32(0x7FFFFFFF), lanes))
    return T.reinterpret("float32", T.call_llvm_pure_intrin("int32", "llvm.vector.reduce.smax", bits))


def sum_lanes(x: Any) -> Any:
    """int32: the sum of a vector's lanes."""
    return T.call_llvm_pure_intrin("int32", "llvm.vector.reduce.add", x)


def to_int(x: Any, lanes: int) -> Any:
    """int32 lanes: x rounded to the nearest, for |x| < 2**22."""
    rounded = x + T.broadcast(T.float32(ROUND), lanes)
    return T.reinterpret(f"int32x{lanes}", rounded) - T.broadcast(T.int32(ROUND_BITS), lanes)


def upper_half(x: Any, lanes: int) -> Any:
    """int32 lanes: the bits of float32 x rounded to bfloat16, its 16 bits uppermost and zeros below."""
    bits = T.reinterpret(f"int32x{lanes}", x) + T.broadcast(T.int32(0x8000), lanes)
    return T.bitwise_and(bits, T.broadcast(T.int32(-0x10000), lanes))


def stay_before(x: Any) -> Any:
    """A statement over which LLVM moves no instruction; it makes none. What makes x comes before."""
    return T.call_llvm_intrin("void", "llvm.fake.use", x)


def prefetch(element: Any, locality: int) -> Any:
    """The call that asks for the cache line of a buffer's element; locality 3 is the nearest cache."""
    return tirx.call_intrin("void", "tirx.prefetch", T.address_of(element), 0, locality, 1)
