"""Which tries are played and which are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from episodes import episode

from duomem.core.trajectory import Usage
from duomem.train.teachers.llm.solutions import distinct, goes_on


def _try(seed: int, commands: str, won: bool = True) -> dict[str, Any]:
    t = replace(episode(0, won=won, commands=tuple(commands)), seed=seed, usage=Usage(1, 2, 30, 4, 0.5))
    return t.to_json() | {"ended": "won" if won else "steps"}


def test_how_long_it_goes_on() -> None:
    a, again, b, lost = _try(0, "a"), _try(1, "a"), _try(2, "b"), _try(3, "c", won=False)
    assert goes_on([], 1, 1) and not goes_on([a], 5, 1) and not goes_on([lost], 1, 1)
    assert goes_on([lost, lost], 3, 1) and not goes_on([lost, lost, lost], 3, 1)
    assert goes_on([a, again], 3, 2) and not goes_on([a, again, b], 5, 2) and not goes_on([a, again, again], 3, 2)


def test_each_solution_once_and_every_failure() -> None:
    rows = [_try(4, "a"), _try(0, "l", won=False), _try(1, "a"), _try(2, "l", won=False), _try(3, "b")]
    kept = distinct(rows, "here")
    assert [(row["seed"], row["won"], row["ended"]) for row in kept] == [
        (0, False, "steps"),
        (1, True, "won"),
        (2, False, "steps"),
        (3, True, "won"),
    ]
    assert [row["usage"]["tries"] for row in kept] == [1, 2, 1, 1]
    assert kept[1]["usage"] == {
        "tries": 2,
        "answers": 4,
        "prompt_tokens": 60,
        "completion_tokens": 8,
        "seconds": 1.0,
    }
