"""Success by task type, and two sets of episodes on the games both played, as the cells of tables.

A game is won if any of its tries is: files of `duomem eval` have one try each, a teacher's may have more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from duomem.core.stats import mcnemar, wilson
from duomem.report.table import p_text
from duomem.report.view.episode_set import EpisodeSet, Played

ALL = "all"


def scores(episodes: Sequence[Played]) -> list[dict[str, Any]]:
    """A row for each task type, sorted, and one of all: its name, cells as texts (success, wins, interval, mean steps,
    seconds and tokens an episode), and success, low, high as shares.
    """
    groups: dict[str, list[Played]] = {}
    for episode in episodes:
        groups.setdefault(episode.task_type, []).append(episode)
    rows = [{"name": name, **_score(group)} for name, group in sorted(groups.items())]
    return [*rows, {"name": ALL, "all": True, **_score(episodes)}]


def _score(episodes: Sequence[Played]) -> dict[str, Any]:
    games = games_won(episodes)
    n, wins = len(games), sum(games.values())
    low, high = wilson(wins, n)
    share = wins / max(1, n)
    return {
        "cells": [
            f"{share:.1%}",
            f"{wins}/{n}",
            f"{low:.1%} - {high:.1%}",
            _mean((e.steps for e in episodes), ".1f"),
            _mean((e.seconds for e in episodes), ".2f"),
            _mean((e.tokens for e in episodes), ",.0f"),
        ],
        "success": round(share, 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def _mean(values: Iterable[float | None], form: str) -> str:
    found = list(values)
    known = [value for value in found if value is not None]
    return format(sum(known) / len(known), form) if known and len(known) == len(found) else "-"


def games_won(episodes: Iterable[Played]) -> dict[str, bool]:
    """By task_id, in the order of the episodes."""
    won: dict[str, bool] = {}
    for episode in episodes:
        won[episode.task_id] = won.get(episode.task_id, False) or episode.won
    return won


def pairs(sets: Sequence[EpisodeSet]) -> dict[str, Any]:
    """By "I,J", the numbers of two sets with I < J: a row for each task type that both played, and one of all: games,
    won by both, by the first alone, by the second alone, and McNemar's p as text; and how many games either has alone.
    """
    played = [games_won(one.episodes) for one in sets]
    types = [{e.task_id: e.task_type for e in one.episodes} for one in sets]
    found = {}
    for j in range(len(sets)):
        for i in range(j):
            common = [task for task in played[i] if task in played[j]]
            by_type: dict[str, list[str]] = {}
            for task in common:
                by_type.setdefault(types[i][task], []).append(task)
            found[f"{i},{j}"] = {
                "rows": [
                    {"name": name, **_compared(played[i], played[j], tasks)} for name, tasks in sorted(by_type.items())
                ]
                + [{"name": ALL, "all": True, **_compared(played[i], played[j], common)}],
                "alone": [len(played[i]) - len(common), len(played[j]) - len(common)],
            }
    return found


def _compared(first: dict[str, bool], second: dict[str, bool], tasks: Sequence[str]) -> dict[str, Any]:
    both = sum(first[task] and second[task] for task in tasks)
    first_only, second_only = (sum(won[task] for task in tasks) - both for won in (first, second))
    p = p_text(mcnemar(first_only, second_only))
    return {"n": len(tasks), "both": both, "first": first_only, "second": second_only, "p": p}
