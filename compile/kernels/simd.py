"""Vector operations TIR has no word for: 8-bit dot products, reductions, 16-bit halves.

Expressions, to be used inside TVMScript; `lanes` counts 32-bit lanes.
"""

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T

from duomem.compile.kernels.tile import Cpu
from duomem.device.engine.schemes import GROUP

LINE = 64
"""Bytes of a cache line."""
_ROUND = 12582912.0
_ROUND_BITS = 0x4B400000


@dataclass(frozen=True)
class ByteDot:
    """Products of weight codes and 8-bit inputs on `cpu`, four a 32-bit lane, summed; `bits` a code.

    AVX2 multiplies bytes into 16 bits: sums of a group of 4-bit codes fit there (32 x 15 x 127, over two lanes),
    and 8-bit codes are multiplied as magnitudes by inputs that take over their signs.
    """

    cpu: Cpu
    bits: int

    @property
    def _short(self) -> bool:
        return self.cpu.dot == "maddubs" and self.bits == 4

    @property
    def lanes(self) -> int:
        """Lanes of the vector it sums in: a register of the CPU."""
        return 2 * self.cpu.lanes if self._short else self.cpu.lanes

    @property
    def dtype(self) -> str:
        """Of those lanes."""
        return "int16" if self._short else "int32"

    def zero(self, stored: int) -> int:
        """The code of a weight that is 0, as `codes` gives it, where it is `stored` in memory."""
        return stored if self.bits == 4 or self.cpu.dot == "vnni" else stored - 128

    @property
    def order(self) -> list[int]:
        """Where the inputs of a group of GROUP come from, put in the order in which `codes` gives their weights."""
        if self.bits == 8:
            return list(range(GROUP))
        return [8 * (w // 2) + 2 * b + w % 2 for w in range(GROUP // 4) for b in range(4)]

    def nothing(self) -> Any:
        """What a sum begins with."""
        return T.broadcast(T.int16(0) if self._short else T.int32(0), self.lanes)

    def codes(self, word: Any, j: Any) -> Any:
        """int32 lanes of four codes each, out of a stored word: of 4-bit ones the even (j even) or the odd."""
        lanes = self.cpu.lanes
        if self.bits == 4:
            return T.bitwise_and(T.shift_right(word, T.broadcast(4 * (j % 2), lanes)), T.broadcast(0x0F0F0F0F, lanes))
        return word if self.cpu.dot == "vnni" else T.bitwise_xor(word, T.broadcast(T.int32(-0x7F7F7F80), lanes))

    def add(self, total: Any, w: Any, x: Any) -> Any:
        """`total` and the products of the codes w and the int8 inputs x."""
        w, x = (T.reinterpret(f"int8x{4 * self.cpu.lanes}", v) for v in (w, x))
        if self._short:
            return total + _byte_pairs(w, x, self.lanes)
        if self.cpu.dot == "maddubs":
            size = f"int8x{4 * self.cpu.lanes}"
            magnitude = T.call_llvm_pure_intrin(size, "llvm.x86.avx2.psign.b", w, w)
            signed = T.call_llvm_pure_intrin(size, "llvm.x86.avx2.psign.b", x, w)
            return total + _short_pairs(_byte_pairs(magnitude, signed, 2 * self.cpu.lanes), self.cpu.lanes)
        vnni = f"llvm.x86.avx512.vpdpbusd.{self.cpu.vector_bits}"
        name = vnni if self.cpu.dot == "vnni" else "llvm.aarch64.neon.sdot"
        return T.call_llvm_pure_intrin(f"int32x{self.cpu.lanes}", name, total, w, x)

    def total(self, sums: Any) -> Any:
        """int32 lanes: the sums, one a 32-bit lane."""
        return _short_pairs(sums, self.cpu.lanes) if self._short else sums


def _byte_pairs(w: Any, x: Any, lanes: int) -> Any:
    """int16 lanes: sums of two products of unsigned bytes w and signed bytes x, AVX2."""
    return T.call_llvm_pure_intrin(f"int16x{lanes}", "llvm.x86.avx2.pmadd.ub.sw", w, x)


def _short_pairs(sums: Any, lanes: int) -> Any:
    """int32 lanes: sums of two neighbours each, AVX2."""
    ones = T.broadcast(T.int16(1), 2 * lanes)
    return T.call_llvm_pure_intrin(f"int32x{lanes}", "llvm.x86.avx2.pmadd.wd", sums, ones)


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


def prefetch(element: Any, locality: int) -> Any:
    """The call that asks for the cache line of a buffer's element; locality 3 is the nearest cache."""
    return tirx.call_intrin("void", "tirx.prefetch", T.address_of(element), 0, locality, 1)
