"""Which tries of a game are played and kept: until enough different solutions are found, and each of them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from duomem.core.trajectory import Trajectory, Usage, from_json

Row = dict[str, Any]
"""A line of the file: a trajectory and, beside it, how the episode ended."""


def commands(row: Row) -> tuple[str, ...]:
    """What was played."""
    return tuple(step["action"] for step in row["steps"])


def task_of(row: Row) -> tuple[str, str]:
    """Which game in whose words."""
    return row["game"], row["goal_source"]


def goes_on(rows: Sequence[Row], tries: int, solutions: int) -> bool:
    """Whether a game of which these tries were played is to be played again."""
    return len(rows) < tries and len({commands(row) for row in rows if row["won"]}) < solutions


def distinct(rows: Sequence[Row], where: str) -> list[Row]:
    """The tries of one game, in order, without the wins that repeat an earlier one command for command: what those cost
    is counted to the earlier one. where: names the file in errors.
    """
    kept: list[tuple[Trajectory, Row]] = []
    first: dict[tuple[str, ...], int] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        trajectory = from_json(row, where)
        earlier = first.setdefault(commands(row), len(kept)) if row["won"] else len(kept)
        if earlier == len(kept):
            kept.append((trajectory, row))
        else:
            before, its_row = kept[earlier]
            kept[earlier] = replace(before, usage=_both(before.usage, trajectory.usage)), its_row
    return [trajectory.to_json() | {"ended": row["ended"]} for trajectory, row in kept]


def _both(first: Usage | None, second: Usage | None) -> Usage | None:
    return first + second if first and second else first or second
