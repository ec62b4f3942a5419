"""Vector operations TIR has no word for: 8-bit dot products, reductions, 16-bit halves.

Expressions, to be used inside TVMScript; `lanes` counts 32-bit lanes.
"""

from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.tile import Cpu

_ROUND = 12582912.0
_ROUND_BITS = 0x4B400000


def dot_lanes(cpu: Cpu) -> tuple[int, str]:
    """(lanes, dtype) of the vector in which `dot4` sums: a register of the CPU."""
    return (2 * cpu.lanes, "int16") if cpu.dot == "maddubs" else (cpu.lanes, "int32")


def dot_zero(cpu: Cpu) -> Any:
    """What a sum begins with."""
    lanes, dtype = dot_lanes(cpu)
    return T.broadcast(T.int16(0) if dtype == "int16" else T.int32(0), lanes)


def dot4(cpu: Cpu, total: Any, w: Any, x: Any) -> Any:
    """`total` and four products a 32-bit lane, bytes of w unsigned times bytes of x signed.

    "sdot" needs w below 128; "maddubs" needs w below 16, and holds the sum of eight at most.
    """
    lanes, dtype = dot_lanes(cpu)
    w, x = (T.reinterpret(f"int8x{4 * cpu.lanes}", v) for v in (w, x))
    if cpu.dot == "maddubs":
        return total + T.call_llvm_pure_intrin(f"{dtype}x{lanes}", "llvm.x86.avx2.pmadd.ub.sw", w, x)
    vnni = f"llvm.x86.avx512.vpdpbusd.{cpu.vector_bits}"
    name = vnni if cpu.dot == "vnni" else "llvm.aarch64.neon.sdot"
    return T.call_llvm_pure_intrin(f"{dtype}x{lanes}", name, total, w, x)


def dot_sum(cpu: Cpu, total: Any) -> Any:
    """int32 lanes: the sums, one a 32-bit lane."""
    if cpu.dot != "maddubs":
        return total
    ones = T.broadcast(T.int16(1), 2 * cpu.lanes)
    return T.call_llvm_pure_intrin(f"int32x{cpu.lanes}", "llvm.x86.avx2.pmadd.wd", total, ones)


def largest_magnitude(x: Any, lanes: int) -> Any:
    """float32: the largest |x| of a vector; NaN if it holds one."""
    bits = T.bitwise_and(T.reinterpret(f"int32x{lanes}", x), T.broadcast(T.int32(0x7FFFFFFF), lanes))
    return T.reinterpret("float32", T.call_llvm_pure_intrin("int32", "llvm.vector.reduce.smax", bits))


def sum_lanes(x: Any) -> Any:
    """int32: the sum of a vector's lanes."""
    return T.call_llvm_pure_intrin("int32", "llvm.vector.reduce.add", x)


def to_int(x: Any, lanes: int) -> Any:
    """int32 lanes: x rounded to the nearest, for |x| < 2**22."""
    rounded = x + T.broadcast(T.float32(_ROUND), lanes)
    return T.reinterpret(f"int32x{lanes}", rounded) - T.broadcast(T.int32(_ROUND_BITS), lanes)


def upper_half(x: Any, lanes: int) -> Any:
    """int32 lanes: the bits of float32 x rounded to bfloat16, its 16 bits uppermost and zeros below."""
    bits = T.reinterpret(f"int32x{lanes}", x) + T.broadcast(T.int32(0x8000), lanes)
    return T.bitwise_and(bits, T.broadcast(T.int32(-0x10000), lanes))
