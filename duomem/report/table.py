"""Conditions as a Markdown page and as a JSON object: the same figures, for people and for programs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duomem.core.files import sha256_file
from duomem.report.compare import Comparison
from duomem.report.condition import ConditionResult

FORMAT = "duomem-report"
VERSION = 1
_DIGITS = 16
CONDITION_HEAD = ("wins", "success", "95 % interval", "steps", "tokens", "s an episode")
COMPARISON_HEAD = ("first", "second", "only the first won", "only the second won", "p (McNemar)")


@dataclass(frozen=True)
class Page:
    """axis: what the conditions' places are; command: as typed; facts: of the machine and the run, by name; results:
    pooled ones included.
    """

    title: str
    axis: str
    command: Sequence[str]
    facts: dict[str, Any]
    results: Sequence[ConditionResult]
    comparisons: Sequence[Comparison]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "title": self.title,
            "axis": self.axis,
            "command": list(self.command),
            "facts": self.facts,
            "conditions": [result.to_json() for result in self.results],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }

    def markdown(self, figure: str | None = None) -> str:
        """The page; figure: a picture's name to show on it."""
        parts = [f"## {self.title}", f"![{self.title}]({figure})" if figure else ""]
        for panel in dict.fromkeys(result.condition.panel for result in self.results):
            parts += [f"### {panel}" if panel else "", self._results(panel), self._comparisons(panel)]
        parts += [_NOTE, f"```\n{shlex.join(self.command)}\n```", _bullets(self.facts), self._sources()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _results(self, panel: str) -> str:
        rows = [
            [r.condition.name, r.condition.taught, *condition_cells(r.to_json())]
            for r in self.results
            if r.condition.panel == panel
        ]
        return _table(["", "taught by", *CONDITION_HEAD], rows, 2)

    def _comparisons(self, panel: str) -> str:
        rows = [
            [c.first, c.second, str(c.first_only), str(c.second_only), p_text(c.p)]
            for c in self.comparisons
            if c.panel == panel
        ]
        return _table(COMPARISON_HEAD, rows, 2) if rows else ""

    def _sources(self) -> str:
        rows = []
        for result in self.results:
            for seed, run in zip(result.condition.seeds, result.runs, strict=True):
                if run.file:
                    inputs = [str(run.inputs.get(name) or "-")[:_DIGITS] for name in ("bundle", "pack", "games")]
                    rows.append(
                        [result.condition.name, result.condition.panel, seed, *inputs, sha256_file(run.file)[:_DIGITS]]
                    )
        return _table(["", "", "seed", "bundle", "pack", "games", "episodes"], rows, 7)


_NOTE = (
    "Steps, tokens and seconds are means over the episodes. Intervals: Wilson, over the games. McNemar's exact "
    "test, two-sided, on the first seed both have, not corrected for the number of tests. Digests: sha256, first "
    f"{_DIGITS} digits."
)


def condition_cells(result: Mapping[str, Any]) -> list[str]:
    """Under CONDITION_HEAD, what ConditionResult.to_json says."""
    wins = [str(run["wins"]) for run in result["runs"]]
    success = f"{result['success']:.1%}"
    if len(wins) > 1:
        success += " ({:.1%} - {:.1%}, {} seeds)".format(*result["span"], len(wins))
    return [
        f"{', '.join(wins)} of {result['n']}",
        success,
        f"{result['low']:.1%} - {result['high']:.1%}",
        f"{result['steps']:.1f}",
        _number(result["tokens"], 0),
        _number(result["seconds"], 1),
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def p_text(value: float) -> str:
    """A p value for people."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _bullets(facts: dict[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table, its first `left` columns to the left."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])
