"""Conditions are compared that differ in one thing and were played on the same games."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from duomem.report.compare import compare
from duomem.report.condition import Condition, ConditionResult, read_result


def _result(write: Callable[..., Path], name: str, outcomes: str, **place: object) -> ConditionResult:
    return read_result(Condition(name, "", (write(f"{name}.jsonl", outcomes),), **place))  # type: ignore[arg-type]


def test_counts_and_p(write: Callable[..., Path]) -> None:
    (found,) = compare(
        [_result(write, "a", "WWWWWWWL", series="s", at="x"), _result(write, "b", "WLLLLLLW", series="s", at="y")]
    )
    assert (found.n, found.both, found.first_only, found.second_only) == (8, 1, 6, 1)
    assert found.p == 2 * (1 + 7) / 2**7


def test_which_pairs(write: Callable[..., Path]) -> None:
    results = [
        _result(write, f"{series}{at}", "WL", panel="free", series=series, at=at) for series in "AB" for at in "xy"
    ]
    results.append(_result(write, "teacher", "WW", panel="free"))
    results.append(_result(write, "elsewhere", "WL", panel="constrained", series="A", at="x"))
    pairs = {(c.first, c.second) for c in compare(results)}
    assert pairs == {
        ("Ax", "Ay"),
        ("Bx", "By"),
        ("Ax", "Bx"),
        ("Ay", "By"),
        *((name, "teacher") for name in ("Ax", "Ay", "Bx", "By")),
    }


def test_other_games_are_not_compared(write: Callable[..., Path]) -> None:
    other = read_result(Condition("b", "", (write("b.jsonl", "WL", prefix="h"),), series="s", at="y"))
    assert compare([_result(write, "a", "WL", series="s", at="x"), other]) == []


def test_of_seeds_the_first(write: Callable[..., Path]) -> None:
    seeds = (write("0.jsonl", "WWL"), write("1.jsonl", "LLL"))
    (found,) = compare(
        [
            read_result(Condition("a", "", seeds, ("0", "1"), series="s", at="x")),
            _result(write, "b", "LLL", series="s", at="y"),
        ]
    )
    assert (found.first_only, found.second_only) == (2, 0)


def test_of_seeds_the_first_that_both_have(write: Callable[..., Path]) -> None:
    seeds = (write("0.jsonl", "WWL"), write("1.jsonl", "LLW"))
    other = Condition("b", "", (write("b.jsonl", "LWW"),), ("1",), series="s", at="y")
    (found,) = compare([read_result(Condition("a", "", seeds, ("0", "1"), series="s", at="x")), read_result(other)])
    assert (found.both, found.first_only, found.second_only) == (1, 0, 1)
