"""Why one command was played: what else the player could have done, how likely each was, and what choosing took.

It is what a person sees of an episode while it is played, and in its record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

MAX_CANDIDATES = 8
BEGINNING = "…"
"""Ends a candidate that was not followed to its end: its probability is that of all commands that begin so."""
_LEAST = 1e-3  # of the likeliest one's probability
_MOST = 1000
"""Items of a list that is read: duomem writes far fewer."""
_LARGEST = 1e12


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


def read_choice(value: Any) -> Choice | None:
    """What `Choice.to_json` gave, read back from a file that anybody may have written; None if it is malformed."""
    if not isinstance(value, dict):
        return None
    candidates, withheld = value.get("candidates"), value.get("withheld")
    seconds, prefilled, decoded = (value.get(name) for name in ("seconds", "prefilled", "decoded"))
    if (
        not isinstance(candidates, list)
        or len(candidates) > _MOST
        or not all(map(_is_candidate, candidates))
        or not are_texts(withheld, _MOST)
        or not is_amount(seconds)
        or not is_amount(prefilled)
        or not is_amount(decoded)
    ):
        return None
    kept = tuple((command, float(probability)) for command, probability in candidates[:MAX_CANDIDATES])
    return Choice(kept, tuple(withheld), float(seconds), int(prefilled), int(decoded))


def are_texts(value: Any, most: int) -> TypeGuard[list[str]]:
    """Whether it is a list of at most so many texts."""
    return isinstance(value, list) and len(value) <= most and all(isinstance(text, str) for text in value)


def is_amount(value: Any, most: float = _LARGEST) -> TypeGuard[float]:
    """Whether it is a number from 0 to `most`, so a finite one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _is_candidate(value: Any) -> bool:
    """A command and its probability, which rounding may have put just above 1."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and is_amount(value[1], 1.001)
