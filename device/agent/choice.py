"""Why one command was played: what else the player could have done, how likely each was, and what choosing took.

It is what a person sees of an episode while it is played, and in its record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_CANDIDATES = 8
BEGINNING = "…"
"""Ends a candidate that was not followed to its end: its probability is that of all commands that begin so."""
_LEAST = 1e-3  # of the likeliest one's probability


@dataclass(frozen=True)
class Choice:
    """candidates: (command, probability), likeliest first, at most MAX_CANDIDATES; empty where the policy gives no
    probabilities. withheld: commands that the action filter took away. seconds: wall time. prefilled, decoded: tokens
    run through the model.
    """

    candidates: tuple[tuple[str, float], ...]
    withheld: tuple[str, ...]
    seconds: float
    prefilled: int
    decoded: int

    def to_json(self) -> dict[str, Any]:
        """As in an episode file."""
        return {
            "candidates": [[command, float(f"{probability:.3g}")] for command, probability in self.candidates],
            "withheld": list(self.withheld),
            "seconds": round(self.seconds, 4),
            "prefilled": self.prefilled,
            "decoded": self.decoded,
        }


def likeliest(candidates: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Those of `candidates` that a Choice keeps: (command, probability), each command once."""
    best: dict[str, float] = {}
    for command, probability in candidates:
        best[command] = max(probability, best.get(command, 0.0))
    kept = sorted(best.items(), key=lambda candidate: -candidate[1])
    return tuple(candidate for candidate in kept if candidate[1] >= _LEAST * kept[0][1])[:MAX_CANDIDATES]
