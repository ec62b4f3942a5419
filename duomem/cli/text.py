"""Rows of text under each other: what several commands print."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import Score


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


def score_table(scores: Mapping[str, Score]) -> str:
    """Scores as aligned text, a row each."""
    head = ("", "success", "wins", "95 % interval", "steps", "s/episode", "tokens")
    body = [
        (
            name,
            f"{s.success:.1%}",
            f"{s.wins}/{s.n}",
            f"{s.low:.1%} - {s.high:.1%}",
            f"{s.steps:.1f}",
            f"{s.seconds:.1f}",
            f"{s.tokens:.0f}",
        )
        for name, s in scores.items()
    ]
    return columns([head, *body])
