"""Conditions as a picture: bars where places on the axis have names, a curve where they are numbers.

Error bars are the 95 % Wilson intervals. Needs matplotlib, imported only here.
"""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duomem.core.files import atomic_open
from duomem.report.condition import ConditionResult
from duomem.report.table import Page

_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's, which the color-blind tell apart."""
_LINES = ("--", ":", "-.", (0, (8, 2)), (0, (1, 4)), (0, (3, 1, 1, 1, 1, 1)))
"""Dashes of the lines across."""
_WIDTH = 0.8
_LABEL = 15
"""Letters a line under a group of bars."""
_HANDLE = 7
"""Letters as wide as a legend's mark."""
_LETTERS_AN_INCH = 11
_DOTS = 150


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def write_figure(path: Path, page: Page) -> None:
    """Write the page's picture, a PNG, atomically."""
    figure = draw(page)
    with atomic_open(path) as f:
        figure.savefig(f, format="png", dpi=_DOTS)


def draw(page: Page) -> Any:
    """matplotlib's figure, an axes a panel: success in per cent of every condition."""
    from matplotlib.figure import Figure

    results = page.results
    panels = list(dict.fromkeys(result.condition.panel for result in results))
    widest = max(len(_places(_of_panel(results, panel))) for panel in panels)
    figure = Figure(figsize=(max(5.0, 1.1 * widest + 1.4) * len(panels), 4.0), layout="constrained")
    figure.suptitle(page.title)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        _panel(axes, _of_panel(results, panel))
        axes.set(title=panel, xlabel=page.axis, ylim=(0, 105))
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("games won, %")
    legend = sorted(zip(*figure.axes[0].get_legend_handles_labels(), strict=True), key=lambda entry: _is_line(entry[0]))
    longest = max(len(label) for _, label in legend) + _HANDLE
    columns = max(1, min(len(legend), int(figure.get_figwidth() * _LETTERS_AN_INCH) // longest))
    figure.legend(*zip(*legend, strict=True), loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _is_line(handle: Any) -> bool:
    """Whether a legend's entry is the line across, which comes last."""
    return hasattr(handle, "get_linestyle")


def _of_panel(results: Sequence[ConditionResult], panel: str) -> list[ConditionResult]:
    return [result for result in results if result.condition.panel == panel]


def _places(results: Sequence[ConditionResult]) -> list[str | float]:
    return list(dict.fromkeys(result.condition.at for result in results if result.condition.at is not None))


def _panel(axes: Any, results: Sequence[ConditionResult]) -> None:
    places = _places(results)
    series = list(dict.fromkeys(result.condition.series for result in results if result.condition.at is not None))
    curve = all(isinstance(place, (int, float)) for place in places)
    for number, name in enumerate(series):
        found = [result for result in results if result.condition.series == name and result.condition.at is not None]
        color = _COLORS[number % len(_COLORS)]
        if curve:
            _curve(axes, found, color)
        else:
            _bars(axes, found, [places.index(place) for place in _places(found)], (number, len(series)), color)
    across = [result for result in results if result.condition.at is None]
    for number, result in enumerate(across):
        style = _LINES[number % len(_LINES)]
        axes.axhline(100 * result.success, color="0.35", linestyle=style, label=result.condition.name)
    if curve:
        axes.set_xticks(sorted(float(place) for place in places))
    else:
        names = [textwrap.fill(str(place).replace("_", " "), _LABEL) for place in places]
        axes.set_xticks(range(len(places)), names)


def _errors(results: Sequence[ConditionResult]) -> list[list[float]]:
    """How far the interval goes down and up from each, in per cent."""
    return [
        [max(0.0, 100 * (r.success - r.interval[0])) for r in results],
        [max(0.0, 100 * (r.interval[1] - r.success)) for r in results],
    ]


def _bars(
    axes: Any, results: Sequence[ConditionResult], groups: Sequence[int], turn: tuple[int, int], color: str
) -> None:
    """Bars in their groups; turn: (which bar of a group, of how many)."""
    number, count = turn
    width = _WIDTH / count
    at = [group + (number - (count - 1) / 2) * width for group in groups]
    axes.bar(
        at,
        [100 * r.success for r in results],
        width * 0.94,
        color=color,
        label=results[0].condition.series or None,
        yerr=_errors(results),
        ecolor="0.3",
        capsize=2,
        error_kw={"linewidth": 0.8},
    )
    for x, result in zip(at, results, strict=True):
        axes.annotate(
            f"{100 * result.success:.1f}".removesuffix(".0"),
            (x, 0),
            (0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"},
        )


def _curve(axes: Any, results: Sequence[ConditionResult], color: str) -> None:
    ordered = sorted(results, key=lambda result: float(result.condition.at or 0))
    axes.errorbar(
        [float(r.condition.at or 0) for r in ordered],
        [100 * r.success for r in ordered],
        yerr=_errors(ordered),
        color=color,
        label=results[0].condition.series or None,
        marker="o",
        capsize=2,
        linewidth=1.5,
        elinewidth=0.8,
    )
