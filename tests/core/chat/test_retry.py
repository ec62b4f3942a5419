"""Delays grow, are jittered and bounded; what an endpoint asks for is heard and bounded too."""

from __future__ import annotations

import random
from datetime import datetime, timezone

import pytest

from duomem.core.chat.retry import Backoff, retry_after

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_delays_grow_to_the_longest() -> None:
    backoff, rng = Backoff(first=1, longest=8), random.Random(0)
    for failures, most in enumerate((1, 2, 4, 8, 8, 8), 1):
        drawn = {backoff.delay(failures, None, rng) for _ in range(50)}
        assert len(drawn) == 50 and most / 2 <= min(drawn) < max(drawn) <= most
    assert backoff.delay(10**9, None, rng) <= 8


def test_what_is_asked_for_is_waited_for_within_bounds() -> None:
    backoff, rng = Backoff(first=1, longest=8, longest_asked=60), random.Random(0)
    assert backoff.delay(1, 20, rng) == 20
    assert backoff.delay(1, 1e12, rng) == 60
    assert backoff.delay(3, 0.1, rng) >= 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0.25", 0.25),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Thu, 01 Jan 2026 00:01:00", None),
        ("-5", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds
    assert retry_after({}, NOW) is None
