"""When to ask an endpoint again: exponential delays with jitter, and what it asks for in Retry-After, both bounded."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Backoff:
    """tries: how often one question is asked at most; first, longest: seconds of the first delay, which then doubles,
    and of the longest one; longest_asked: most seconds waited because the endpoint asks for it.
    """

    tries: int = 8
    first: float = 0.5
    longest: float = 30.0
    longest_asked: float = 120.0

    def delay(self, failures: int, asked: float | None, rng: random.Random) -> float:
        """Seconds to wait after so many failures, 1 and up: between half and all of the doubled delay, and no less than
        the endpoint asked for.
        """
        drawn = min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) * rng.uniform(0.5, 1)
        return max(drawn, min(asked or 0.0, self.longest_asked))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a response asks to wait (RFC 9110: a number or a date), None if it does not or not legibly."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            until = parsedate_to_datetime(text)
            seconds = (until - (now or datetime.now(timezone.utc))).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None
