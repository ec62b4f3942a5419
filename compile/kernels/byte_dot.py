"""Products of weight codes and 8-bit inputs by the instruction of the CPU, and all that differs with it.

Expressions, to be used inside TVMScript; `lanes` counts 32-bit lanes, a word is four bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.simd import ROUND, ROUND_BITS
from duomem.compile.kernels.tile import Cpu
from duomem.device.engine.schemes import GROUP

WORDS = GROUP // 4
"""Words of a group of inputs."""

_SIDE_BY_SIDE = 4
_OPERAND = 16


@dataclass(frozen=True)
class ByteDot:
    """Sums of products on `cpu`, four or eight a 32-bit lane; `bits` a code; `tile` rows of inputs.

    A register of sums is of `rows` x `columns`. AVX2 multiplies bytes into 16 bits: sums of a group of 4-bit codes fit
    there (32 x 15 x 127, over two lanes), and 8-bit codes are multiplied as magnitudes by inputs that take over their
    signs. On AArch64 inputs of four rows lie side by side, so that one register of them serves four `sdot` by lane, or
    is two rows of `smmla`; and a sum begins with the bits of a float, which it still is when all is added.
    """

    cpu: Cpu
    bits: int
    tile: int = 1

    @property
    def _name(self) -> str:
        return "smmla" if self.tile > 1 and self.cpu.matrix == "smmla" else self.cpu.dot

    @property
    def _arm(self) -> bool:
        return self.cpu.dot == "sdot"

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

    @property
    def rows(self) -> int:
        """Rows of inputs whose sums lie in a register."""
        return 2 if self._name == "smmla" else 1

    @property
    def columns(self) -> int:
        """Columns of weights whose sums lie in a register."""
        return self.cpu.lanes // self.rows

    @property
    def depth(self) -> int:
        """Inputs of a row that an instruction takes: a step."""
        return 8 if self._name == "smmla" else 4

    @property
    def bundle(self) -> int:
        """Rows of inputs that lie together in memory, group by group."""
        return self.tile if self._arm else 1

    @property
    def copies(self) -> int:
        """How often what a row's sums lack lies in memory: once a lane, where it is loaded as what they begin with."""
        return self.cpu.lanes if self._arm else 1

    def at_once(self, columns: int) -> tuple[int, int]:
        """(rows, columns) of a tile of `columns` whose sums are made at once.

        On AArch64 a tile's totals and the unpacked codes of four columns leave registers for four rows.
        """
        return (min(self.tile, _SIDE_BY_SIDE), self.cpu.lanes) if self._arm else (self.tile, columns)

    def zero(self, stored: int) -> int:
        """The code of a weight that is 0, as `codes` gives it, where it is `stored` in memory."""
        return stored if self.bits == 4 or self.cpu.dot == "vnni" else stored - 128

    @property
    def order(self) -> list[int]:
        """Where the inputs of a group of GROUP come from, put in the order in which `codes` gives their weights."""
        if self.bits == 8:
            return list(range(GROUP))
        return [
            2 * self.depth * (i // 2) + 2 * b + i % 2 for i in range(GROUP // self.depth) for b in range(self.depth)
        ]

    def at(self, first: Any, row: Any, group: Any, groups: int) -> tuple[Any, Any]:
        """Where a group of the inputs of `row` of the tile from row `first` on lies: (rows and groups before, row)."""
        return (first + row // self.bundle * self.bundle) * groups + group * self.bundle, row % self.bundle

    def word(self, at: tuple[Any, Any], step: Any) -> Any:
        """The index of the first word of a step: four words of a register of inputs, four rows', two rows' or one's."""
        start, row = at
        side = _OPERAND // self.depth if self.bundle > 1 else 1
        per_step = self.depth // 4
        return start * WORDS + row // side * (side * WORDS) + step * (side * per_step) + row % side * per_step

    def inputs(self, words: Any, at: tuple[Any, Any], step: Any) -> Any:
        """int32 lanes: a step of the inputs of a register's rows."""
        word = self.word(at, step)
        if not self._arm:
            return T.broadcast(words[word], self.cpu.lanes)
        operand = words[T.ramp(word // 4 * 4, 1, 4)]
        return operand if self._name == "smmla" else T.Shuffle([operand], [word % 4] * 4)

    def steps(self, step: Any, at: tuple[Any, Any]) -> Any:
        """float32 lanes: what the inputs of a register's rows are multiples of."""
        start, row = at
        if self.bundle == 1:
            return T.broadcast(step[start], self.cpu.lanes)
        beside = step[T.ramp(start + row // _SIDE_BY_SIDE * _SIDE_BY_SIDE, 1, _SIDE_BY_SIDE)]
        return T.Shuffle([beside], [row % _SIDE_BY_SIDE + lane // self.columns for lane in range(self.cpu.lanes)])

    def scales(self, load: Callable[[Any], Any], c: Any) -> Any:
        """float32 lanes: the scales of the columns of register c; load(column) gives `lanes` of them."""
        if self.rows == 1:
            return load(c * self.cpu.lanes)
        return T.Shuffle([load(c // 2 * 4)], [c % 2 * 2 + lane % 2 for lane in range(4)])

    def codes(self, load: Callable[[Any, Any], Any], step: Any, c: Any) -> Any:
        """int32 lanes: the codes of register c at a step of a group; load(word, column) gives `lanes` stored words.

        Of 4-bit codes an even step takes the even ones.
        """
        word = step * self.bits // 8 * self.rows
        if self.rows == 1:
            return self._unpacked(load(word, c * self.cpu.lanes), step)
        column, half = c // 2 * 4, c % 2 * 2
        pairs = T.Shuffle([load(word, column), load(word + 1, column)], [half, half + 4, half + 1, half + 5])
        return self._unpacked(pairs, step)

    def _unpacked(self, words: Any, step: Any) -> Any:
        lanes, size = self.cpu.lanes, 4 * self.cpu.lanes
        if self.bits == 8:
            return words if self.cpu.dot == "vnni" else T.bitwise_xor(words, T.broadcast(T.int32(-0x7F7F7F80), lanes))
        if not self._arm:
            shifted = T.shift_right(words, T.broadcast(4 * (step % 2), lanes))
            return T.bitwise_and(shifted, T.broadcast(0x0F0F0F0F, lanes))
        shift = T.broadcast(T.Cast("uint8", 4 * (step % 2)), size)
        shifted = T.shift_right(T.reinterpret(f"uint8x{size}", words), shift)
        return T.reinterpret(f"int32x{lanes}", T.bitwise_and(shifted, T.broadcast(T.uint8(0x0F), size)))

    def offset(self, total: Any, stored: int) -> Any:
        """int32: what a row's sums lack, where its inputs sum to `total` and a weight that is 0 is `stored`."""
        lacking = total * (-self.zero(stored))
        return lacking + T.int32(ROUND_BITS) if self._arm else lacking

    def nothing(self) -> Any:
        """A sum of nothing."""
        return T.broadcast(T.int16(0) if self._short else T.int32(0), self.lanes)

    def begin(self, offset: Any, at: tuple[Any, Any]) -> Any:
        """What the sums of a register begin with."""
        if not self._arm:
            return self.nothing()
        start, row = at
        return offset[T.ramp((start + row) * 4 + 4 - self.columns, 1, 4)]

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
        if self._name == "smmla":
            return T.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.smmla", total, x, w)
        vnni = f"llvm.x86.avx512.vpdpbusd.{self.cpu.vector_bits}"
        name = vnni if self.cpu.dot == "vnni" else "llvm.aarch64.neon.sdot"
        return T.call_llvm_pure_intrin(f"int32x{self.cpu.lanes}", name, total, w, x)

    def total(self, sums: Any) -> Any:
        """int32 lanes: the sums, one a 32-bit lane."""
        return _short_pairs(sums, self.cpu.lanes) if self._short else sums

    def floats(self, sums: Any, offset: Any, at: tuple[Any, Any]) -> Any:
        """float32 lanes: the whole sums, of what `begin` began."""
        lanes = self.cpu.lanes
        if self._arm:
            return T.reinterpret(f"float32x{lanes}", sums) - T.broadcast(T.float32(ROUND), lanes)
        return T.Cast(f"float32x{lanes}", self.total(sums) + T.broadcast(offset[at[0]], lanes))


def _byte_pairs(w: Any, x: Any, lanes: int) -> Any:
    """int16 lanes: sums of two products of unsigned bytes w and signed bytes x, AVX2."""
    return T.call_llvm_pure_intrin(f"int16x{lanes}", "llvm.x86.avx2.pmadd.ub.sw", w, x)


def _short_pairs(sums: Any, lanes: int) -> Any:
    """int32 lanes: sums of two neighbours each, AVX2."""
    ones = T.broadcast(T.int16(1), 2 * lanes)
    return T.call_llvm_pure_intrin(f"int32x{lanes}", "llvm.x86.avx2.pmadd.wd", sums, ones)
