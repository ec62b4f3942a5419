"""Who is timed when, and what is made of the seconds; with engines that are only a list."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from duomem.device.bench.interleave import interleave, rates, ratios


def _engine(name: str, seconds: list[float], log: list[str]) -> Callable[[], float]:
    left = iter(seconds)

    def timed_run() -> float:
        log.append(name)
        return next(left)

    return timed_run


def test_turns_alternate_after_one_warm_up_of_each() -> None:
    log: list[str] = []
    timed_runs = [_engine("A", [9, 1, 2, 3], log), _engine("B", [90, 10, 20, 30], log)]
    assert interleave(timed_runs, 3, lambda: log.append("tick")) == [[1, 2, 3], [10, 20, 30]]
    assert log == ["A", "tick", "B", "tick"] * 4


def test_one_engine_alone() -> None:
    log: list[str] = []
    assert interleave([_engine("A", [9, 1, 2], log)], 2) == [[1, 2]]
    assert log == ["A"] * 3


def test_an_engine_that_fails_ends_the_turns() -> None:
    log: list[str] = []

    def broken() -> float:
        raise RuntimeError("engine")

    with pytest.raises(RuntimeError, match="engine"):
        interleave([_engine("A", [1, 2, 3], log), broken], 2)
    assert log == ["A"]


def test_rates_are_of_each_repetition_not_of_the_mean_second() -> None:
    found = rates(100, [1.0, 2.0, 4.0])
    each = [100.0, 50.0, 25.0]
    assert found == {
        "mean": statistics.mean(each),
        "sd": statistics.stdev(each),
        "median": 50.0,
        "min": 25.0,
        "max": 100.0,
        "seconds": [1.0, 2.0, 4.0],
    }
    assert rates(100, [2.0])["sd"] == 0


def test_a_ratio_is_within_a_pair() -> None:
    """Both slow down threefold in the second pair: the ratio must not see it."""
    assert ratios([1.0, 3.0, 1.0], [2.0, 6.0, 1.5]) == {"median": 2.0, "pairs": [2.0, 2.0, 1.5]}
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])
