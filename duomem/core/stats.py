"""Success rates with their uncertainty, and whether two on the same games differ.

Wilson's score interval: E. B. Wilson, JASA 22 (1927). McNemar's test: Q. McNemar, Psychometrika 12 (1947).
"""

from __future__ import annotations

import math

_Z95 = 1.959963984540054


def wilson(wins: float, n: int) -> tuple[float, float]:
    """95 % interval of a success rate as shares in [0, 1]; (0, 1) for n = 0. wins: also a mean of several runs."""
    if n == 0:
        return 0.0, 1.0
    share = wins / n
    centre = share + _Z95**2 / (2 * n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n))
    scale = 1 + _Z95**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def mcnemar(first_only: int, second_only: int) -> float:
    """Two-sided p of McNemar's exact test of paired outcomes: how likely so uneven a split of the games that one
    of two won and the other lost would be, if each fell either way with equal chance. 1 if there are none.
    """
    n, fewer = first_only + second_only, min(first_only, second_only)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n)
