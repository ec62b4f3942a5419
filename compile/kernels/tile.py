"""What the kernels ask about a CPU: its vector registers, its dot-product instructions, its register tiles.

A tile's accumulators must fit the vector registers, or every multiply spills to memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLUMNS = 32
"""Output columns of a tile: the block a stored matrix is cut into, whatever the CPU."""

_MAX_ROWS = 8
_SPARE_REGISTERS = 4


@dataclass(frozen=True)
class Cpu:
    """A CPU variant, as much of it as shapes kernels.

    dot: the instruction that adds products of 8-bit integers four at a time into 32-bit lanes: "vnni"
    (AVX-512 or AVX), "maddubs" (AVX2's pair of instructions), "sdot" (AArch64), or "" for none.
    matrix: the matrix instruction: "amx" (AMX on bfloat16), "smmla" (AArch64 on 8-bit integers), or "" for none.
    half: whether it converts float16 to float32 itself.
    """

    vector_bits: int
    vector_registers: int
    dot: str = ""
    matrix: str = ""
    half: bool = False

    @property
    def lanes(self) -> int:
        """32-bit lanes of a vector register."""
        return self.vector_bits // 32

    @property
    def rows(self) -> int:
        """Input rows of a float32 tile.

        AVX-512 (512 bits, 32 registers) gets 8 x 32, AVX2 (256, 16) 3 x 32, NEON (128, 32) 3 x 32.
        """
        per_row = COLUMNS // self.lanes
        return max(1, min(_MAX_ROWS, (self.vector_registers - _SPARE_REGISTERS) // per_row))

    @property
    def int8_tiles(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of tiles of 8-bit inputs, each for the rows that those before leave, the last of one row.

        AVX-512 gets 4 x 32 and AVX2 3 x 8, the fastest on Zen 4; NEON 12 x 4 and 4 x 8, the fastest by llvm-mca.
        """
        one_row = (1, COLUMNS)
        if self.vector_bits == 512:
            return (4, 2 * self.lanes), one_row
        if self.vector_registers == 16:
            return (3, self.lanes), one_row
        return (12, self.lanes), (4, 2 * self.lanes), one_row

    def asks_ahead(self, rows: int) -> bool:
        """Whether an int8 tile of `rows` asks for the codes of the next block, which the CPU might fetch unasked.

        On Zen 4 it saves a fifth of a decode with AVX2, and costs a tenth with AVX-512; not measured on ARM.
        """
        return self.vector_bits == 256 or (self.vector_bits == 512 and rows > 1)


def cpu_of(target: Any) -> Cpu:
    """The description of a TVM target (kind llvm, x86-64 or AArch64)."""
    import tvm

    query = tvm.get_global_func("target.target_has_feature")

    def has(*features: str) -> bool:
        return all(query(feature, target) for feature in features)

    if has("avx512f", "avx512bw", "avx512vl"):
        amx = "amx" if has("amx-tile", "amx-bf16") else ""
        return Cpu(512, 32, "vnni" if has("avx512vnni") else "", amx, half=True)
    if has("avx2", "fma"):
        return Cpu(256, 16, "vnni" if has("avxvnni") else "maddubs", half=has("f16c"))
    if has("avx"):
        return Cpu(256, 16)
    if has("neon"):
        dot = "sdot" if has("dotprod") else ""
        return Cpu(128, 32, dot, "smmla" if dot and has("i8mm") else "", half=True)
    return Cpu(128, 16)
