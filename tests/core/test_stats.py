"""Wilson's interval against the roots of the equation that defines it, (p - share)^2 = z^2 p (1 - p) / n; McNemar's
test by hand.
"""

from __future__ import annotations

from math import comb

import pytest

from duomem.core.stats import mcnemar, wilson


@pytest.mark.parametrize(
    ("wins", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (5, 10, 0.2365931, 0.7634069),
        (1, 1, 0.2065493, 1.0),
        (44, 48, 0.8044670, 0.9671162),
        (0, 0, 0.0, 1.0),
    ],
)
def test_known_values(wins: int, n: int, low: float, high: float) -> None:
    assert wilson(wins, n) == pytest.approx((low, high), abs=1e-7)


def test_bounds_and_symmetry() -> None:
    for n in range(1, 60):
        for wins in range(n + 1):
            low, high = wilson(wins, n)
            assert 0 <= low <= wins / n + 1e-12 and wins / n - 1e-12 <= high <= 1
            assert wilson(n - wins, n) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (0, 6, 0.03125), (3, 3, 1.0), (10, 2, 0.0385742), (1, 9, 0.0214844)],
)
def test_mcnemar_by_hand(first: int, second: int, p: float) -> None:
    """Sums of binomial coefficients: 10 to 2 is 2 (1 + 12 + 66) / 4096."""
    assert mcnemar(first, second) == pytest.approx(p, abs=1e-7) == mcnemar(second, first)


def test_mcnemar_keeps_its_level() -> None:
    """Where nothing differs, p <= 0.05 comes up in at most 5 % of all outcomes."""
    for n in range(1, 40):
        assert sum(comb(n, i) / 2**n for i in range(n + 1) if mcnemar(i, n - i) <= 0.05) <= 0.05
