"""Interleaved runs: two engines are timed alternately, so that both meet the same clock, caches and neighbours.

Never at once. What is compared is each run with the one right after it, not two averages.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

TimedRun = Callable[[], float]
_SETTLE = 0.2
"""Seconds between runs of two engines: the threads of the one that ended spin for more work, on the other's core."""


def interleave(
    timed_runs: Sequence[TimedRun], repetitions: int, tick: Callable[[], object] = lambda: None
) -> list[list[float]]:
    """Seconds of each run, [len(timed_runs)][repetitions], taken as A B A B ... after one warm-up of each.

    tick: called after every run, warm-ups included.
    """
    seconds: list[list[float]] = [[] for _ in timed_runs]
    for warm_up in (True, *[False] * repetitions):
        for timed_run, taken in zip(timed_runs, seconds, strict=True):
            if len(timed_runs) > 1:
                time.sleep(_SETTLE)
            value = timed_run()
            if not warm_up:
                taken.append(value)
            tick()
    return seconds


def rates(tokens: int, seconds: Sequence[float]) -> dict[str, Any]:
    """Tokens a second over repetitions: mean, sd (of a sample; 0 for one), median, min, max, and the seconds."""
    each = [tokens / s for s in seconds]
    return {
        "mean": statistics.fmean(each),
        "sd": statistics.stdev(each) if len(each) > 1 else 0.0,
        "median": statistics.median(each),
        "min": min(each),
        "max": max(each),
        "seconds": list(seconds),
    }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """How many times faster we were in each pair of runs, from their seconds: median and every pair."""
    pairs = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(pairs), "pairs": pairs}
