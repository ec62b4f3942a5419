"""A condition: one way to play, what taught it, and the episodes it was measured by, one file for each training seed.

Everything that is reported is computed from these files again, never stored beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from duomem.core.errors import ReportError
from duomem.core.files import read_json, read_jsonl, sha256_file
from duomem.core.resumable_jsonl import sidecar_of
from duomem.core.stats import wilson
from duomem.core.trajectory import from_json

POOLED = "all"
_ASKED = ("prompt_tokens", "completion_tokens")
"""Of a model that is asked over and over: every answer's prompt counts again."""


@dataclass(frozen=True)
class Condition:
    """name: in tables; taught: what taught it ("programmatic expert", ...): results under other supervision
    are other claims. files: episode files of the same games, one a training seed, named by `seeds`.

    panel: conditions of one panel are drawn together and compared ("free"); series: its colour ("LoRA"); at: its
    place on the axis, a label ("teacher memory") for bars or a number (minutes) for a curve, None for a
    line across (the teacher).
    """

    name: str
    taught: str
    files: tuple[Path, ...]
    seeds: tuple[str, ...] = ("",)
    panel: str = ""
    series: str = ""
    at: str | float | None = None


@dataclass(frozen=True)
class Run:
    """Episodes of one file, None for several files' together. won: by task_id, in the order played; inputs:
    what the file was made from.

    steps: mean; seconds, tokens: means, None where the player has none (a programmatic teacher). Tokens are those run
    through a student, or those a language model was asked and answered with.
    """

    file: Path | None
    inputs: dict[str, Any]
    won: dict[str, bool]
    steps: float
    seconds: float | None
    tokens: float | None

    @property
    def wins(self) -> int:
        """Games won."""
        return sum(self.won.values())

    def to_json(self) -> dict[str, Any]:
        source = {"file": str(self.file), "sha256": sha256_file(self.file), "inputs": self.inputs} if self.file else {}
        return {
            **source,
            "n": len(self.won),
            "wins": self.wins,
            "steps": self.steps,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }


@dataclass(frozen=True)
class ConditionResult:
    """A condition and its runs, all of the same games; each figure is the mean over the runs."""

    condition: Condition
    runs: tuple[Run, ...]

    @property
    def n(self) -> int:
        """Games."""
        return len(self.runs[0].won)

    @cached_property
    def success(self) -> float:
        """Share of games won, the mean over the seeds."""
        return sum(run.wins for run in self.runs) / max(1, self.n * len(self.runs))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `success` over the games: more seeds of the same games do not narrow it."""
        return wilson(self.success * self.n, self.n)

    @property
    def span(self) -> tuple[float, float]:
        """Success of the worst and of the best seed."""
        shares = [run.wins / max(1, self.n) for run in self.runs]
        return min(shares), max(shares)

    @property
    def steps(self) -> float:
        return sum(run.steps for run in self.runs) / len(self.runs)

    @property
    def seconds(self) -> float | None:
        return _mean([run.seconds for run in self.runs])

    @property
    def tokens(self) -> float | None:
        return _mean([run.tokens for run in self.runs])

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "name": self.condition.name,
            "taught": self.condition.taught,
            "panel": self.condition.panel,
            "series": self.condition.series,
            "at": self.condition.at,
            "seeds": list(self.condition.seeds),
            "n": self.n,
            "success": self.success,
            "low": low,
            "high": high,
            "span": list(self.span),
            "steps": self.steps,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "runs": [run.to_json() for run in self.runs],
        }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def read_result(condition: Condition, tasks: Collection[str] | None = None) -> ConditionResult:
    """The condition's episodes, of `tasks` (see Trajectory.task_id) alone if given. Raises ReportError naming the file
    that is missing, damaged, lacks a game or is not of the same games as the first.
    """
    runs = tuple(read_run(file, tasks) for file in condition.files)
    for run in runs[1:]:
        if set(run.won) != set(runs[0].won):
            raise ReportError(
                f"{run.file}: is not of the same games as {runs[0].file}: give runs of one split and limit"
            )
    return ConditionResult(condition, runs)


def read_run(file: Path, tasks: Collection[str] | None = None) -> Run:
    """The episodes of a file of `duomem eval` or `duomem teach`, as `read_result` says."""
    won: dict[str, bool] = {}
    rows = []
    for number, row in enumerate(read_jsonl(file, "episode file"), 1):
        where = f"{file}: line {number}"
        played = from_json(row, where)
        if tasks is not None and played.task_id not in tasks:
            continue
        if played.task_id in won:
            raise ReportError(f"{where}: plays game {played.game[:12]} a second time: give one episode a game")
        won[played.task_id] = played.won
        rows.append(row)
    if not rows or (tasks is not None and len(rows) < len(tasks)):
        lacking = f"{len(tasks) - len(rows)} of the games asked for" if tasks else "any episode"
        raise ReportError(f"{file}: lacks {lacking}: give episodes of the whole split")
    sidecar = sidecar_of(file)
    inputs = read_json(sidecar, "record of inputs") if sidecar.is_file() else {}
    steps = sum(len(row["steps"]) for row in rows) / len(rows)
    if all(isinstance(row.get("usage"), dict) for row in rows):
        rows = [row["usage"] for row in rows]
        return Run(file, inputs, won, steps, _mean_of(rows, "seconds"), _mean_of(rows, *_ASKED))
    return Run(file, inputs, won, steps, _mean_of(rows, "seconds"), _mean_of(rows, "prefilled", "decoded"))


def _mean_of(rows: Sequence[dict[str, Any]], *fields: str) -> float | None:
    """Mean of the fields' sum over the rows, None if a row lacks one."""
    try:
        return sum(row[field] for row in rows for field in fields) / len(rows)
    except (KeyError, TypeError):
        return None


def pooled(results: Sequence[ConditionResult]) -> list[ConditionResult]:
    """A condition "all" for each panel and series whose conditions are of other games each, as one for a task type is:
    all their games together, seed by seed, and in its name the mean of their shares. None for a series of one
    condition, or of the same games.
    """
    groups: dict[tuple[str, str], list[ConditionResult]] = {}
    for result in results:
        if result.condition.at is not None:
            groups.setdefault((result.condition.panel, result.condition.series), []).append(result)
    found = []
    for (_, series), group in groups.items():
        games = [game for result in group for game in result.runs[0].won]
        if len(group) < 2 or len(games) != len(set(games)) or len({r.condition.seeds for r in group}) > 1:
            continue
        taught = ", ".join(dict.fromkeys(result.condition.taught for result in group))
        mean = sum(result.success for result in group) / len(group)
        name = f"{series}, {POOLED} (mean of {len(group)}: {mean:.1%})".lstrip(", ")
        condition = replace(
            group[0].condition,
            name=name,
            taught=taught,
            at=POOLED,
            files=tuple(file for result in group for file in result.condition.files),
        )
        found.append(
            ConditionResult(condition, tuple(_joined(runs) for runs in zip(*(r.runs for r in group), strict=True)))
        )
    return found


def _joined(runs: Sequence[Run]) -> Run:
    """Runs of other games each as one."""
    n = sum(len(run.won) for run in runs)

    def mean(name: str) -> float | None:
        values = [getattr(run, name) for run in runs]
        return None if None in values else sum(v * len(run.won) for v, run in zip(values, runs, strict=True)) / n

    return Run(
        None,
        {},
        {game: won for run in runs for game, won in run.won.items()},
        mean("steps") or 0.0,
        mean("seconds"),
        mean("tokens"),
    )
