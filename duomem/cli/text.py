"""Rows of text under each other: what several verbs print."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def columns(rows: Sequence[Sequence[object]], left: Collection[int] = (0,)) -> str:
    """`rows` of equal length as aligned lines; `left`: the columns that begin at the left, others end at the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = [
        [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in texts
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)
