"""What is drawn is what was measured: heights, intervals, places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from duomem.report.condition import Condition, ConditionResult, read_result
from duomem.report.figure import draw
from duomem.report.table import Page

pytest.importorskip("matplotlib", reason="pip install duomem[plot]")


def _result(
    write: Callable[..., Path], outcomes: str, series: str, at: str | float | None, panel: str = ""
) -> ConditionResult:
    return read_result(
        Condition(
            f"{series}{at}", "", (write(f"{panel}{series}{at}.jsonl", outcomes),), panel=panel, series=series, at=at
        )
    )


def _page(*results: ConditionResult) -> Page:
    return Page("t", "where", [], {}, results, [])


def test_bars_in_groups(write: Callable[..., Path]) -> None:
    base, lora, more = (
        _result(write, "WLLL", "base", "none", "free"),
        _result(write, "WWLL", "LoRA", "none", "free"),
        _result(write, "WWWL", "LoRA", "teacher", "free"),
    )
    figure = draw(_page(base, lora, more, _result(write, "WWWW", "", None, "free")))
    (axes,) = figure.axes
    bars = {round(bar.get_x() + bar.get_width() / 2, 1): bar.get_height() for bar in axes.patches}
    assert bars == {-0.2: 25, 0.2: 50, 1.2: 75}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "teacher"]
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [100]
    ends = [segment[:, 1] for lines in axes.collections for segment in lines.get_segments()]
    for found, result in zip(ends, (base, lora, more), strict=True):
        assert list(found) == pytest.approx([100 * x for x in result.interval])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["base", "LoRA", "None"]


def test_a_panel_for_each_protocol(write: Callable[..., Path]) -> None:
    figure = draw(_page(*(_result(write, "WL", "base", "none", panel) for panel in ("free", "constrained"))))
    assert [axes.get_title() for axes in figure.axes] == ["free", "constrained"]
    assert figure.axes[0].get_ylabel() and all(axes.get_xlabel() == "where" for axes in figure.axes)


def test_a_curve_in_order(write: Callable[..., Path]) -> None:
    figure = draw(
        _page(
            *(
                _result(write, "W" * wins + "L" * (4 - wins), "memory", minutes)
                for minutes, wins in ((45, 4), (0, 0), (15, 2))
            )
        )
    )
    line = figure.axes[0].lines[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 15, 45], [0, 50, 100])
    assert list(figure.axes[0].get_xticks()) == [0, 15, 45]


@pytest.mark.parametrize("series", [["none", "self", "teacher"], [f"script cut to {n} of its steps" for n in range(9)]])
def test_the_legend_fits(series: list[str], write: Callable[..., Path]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = draw(_page(*(_result(write, "WL", name, at) for at, name in enumerate(series))))
    FigureCanvasAgg(figure).draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1 and legend.y0 >= 0
    assert figure.axes[0].get_window_extent().height > 100
