"""A page of conditions made, and written to one folder as NAME.md, NAME.json and NAME.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duomem.core.files import write_bytes, write_json
from duomem.core.machine import machine_facts
from duomem.report.compare import compare
from duomem.report.condition import ConditionResult, pooled
from duomem.report.figure import can_draw, write_figure
from duomem.report.table import Page


def make_page(
    title: str, axis: str, results: Sequence[ConditionResult], command: Sequence[str], facts: dict[str, Any]
) -> Page:
    """What `results` say, pooled and compared. axis: what the conditions' places are; facts: by name, those of this
    machine are added.
    """
    everything = [*results, *pooled(results)]
    machine = machine_facts()
    return Page(
        title,
        axis,
        command,
        {
            **facts,
            "machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}",
            "versions": ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        },
        everything,
        compare(everything),
    )


def write_page(folder: Path, name: str, page: Page) -> None:
    """Write the page, its JSON and, where matplotlib is installed, its figure to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = f"{name}.png" if can_draw() else None
    if figure:
        write_figure(folder / figure, page)
    write_json(folder / f"{name}.json", page.to_json())
    write_bytes(folder / f"{name}.md", page.markdown(figure).encode())
