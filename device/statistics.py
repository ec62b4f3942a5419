"""Success rates with their uncertainty.

Wilson's score interval: E. B. Wilson, JASA 22 (1927).
"""

from __future__ import annotations

import math

_Z95 = 1.959963984540054


def wilson(wins: int, n: int) -> tuple[float, float]:
    """95 % interval of a success rate as shares in [0, 1]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = wins / n
    centre = share + _Z95 ** 2 / (2 * n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + _Z95 ** 2 / (4 * n * n))
    scale = 1 + _Z95 ** 2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
