"""Which conditions differ: McNemar's exact test on the games both played.

Of several training seeds the first that both have is compared, else the first of each: runs of one game are not
independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from duomem.core.stats import mcnemar
from duomem.report.condition import ConditionResult


@dataclass(frozen=True)
class Comparison:
    """first, second: names; first_only: games that only the first won; p: of McNemar's test, two-sided, not
    corrected for how many are made.
    """

    panel: str
    first: str
    second: str
    n: int
    both: int
    first_only: int
    second_only: int
    p: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(results: Sequence[ConditionResult]) -> list[Comparison]:
    """Every two conditions of a panel that differ in one thing, the series or the place on the axis, and each with what
    has no place there (the teacher), if they are of the same games.
    """
    return [
        _compared(a, b)
        for a, b in combinations(results, 2)
        if _differ_in_one(a, b) and set(a.runs[0].won) == set(b.runs[0].won)
    ]


def _differ_in_one(a: ConditionResult, b: ConditionResult) -> bool:
    same = (a.condition.series == b.condition.series, a.condition.at == b.condition.at)
    return a.condition.panel == b.condition.panel and (any(same) or None in (a.condition.at, b.condition.at))


def _compared(a: ConditionResult, b: ConditionResult) -> Comparison:
    common = next((seed for seed in a.condition.seeds if seed in b.condition.seeds), None)
    first, second = (
        result.runs[result.condition.seeds.index(common) if common is not None else 0].won for result in (a, b)
    )
    both = sum(first[game] and second[game] for game in first)
    first_only, second_only = sum(first.values()) - both, sum(second.values()) - both
    return Comparison(
        a.condition.panel,
        a.condition.name,
        b.condition.name,
        len(first),
        both,
        first_only,
        second_only,
        mcnemar(first_only, second_only),
    )
