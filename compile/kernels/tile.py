"""The shape of a register tile: how many output columns and input rows a CPU kernel works on at once.

A tile's accumulators must fit the vector registers, or every multiply spills to memory.
"""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = 32
_MAX_ROWS = 8
_SPARE_REGISTERS = 4


@dataclass(frozen=True)
class Tile:
    """A kernel tile: `rows` of the input times `columns` of the output."""

    rows: int
    columns: int = COLUMNS

    @property
    def attention_rows(self) -> int:
        """Query rows an attention kernel works on at once; it keeps a score and an output tile."""
        return max(1, self.rows // 2)


def tile_for(vector_bits: int, vector_registers: int) -> Tile:
    """The tile for a CPU with so many vector registers of so many bits, in float32.

    AVX-512 (512 bits, 32 registers) gets 8 x 32, AVX2 (256, 16) 3 x 32, NEON (128, 32) 3 x 32.
    """
    per_row = COLUMNS * 32 // vector_bits
    return Tile(rows=max(1, min(_MAX_ROWS, (vector_registers - _SPARE_REGISTERS) // per_row)))
