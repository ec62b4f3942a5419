"""What `duomem view` is given, read: episode files, or folders of `duomem compare`, as sets of episodes and ladders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.errors import ReportError
from duomem.report.view.episode_set import EpisodeSet, Room, read_set
from duomem.report.view.ladder import NAME, read_ladder

_MOST_SETS = 64


@dataclass(frozen=True)
class View:
    """title: of the page. sets: of episodes. ladders: (run's name, its panels), rows naming sets by number. first,
    second: the sets that are shown when the page opens.
    """

    title: str
    sets: tuple[EpisodeSet, ...]
    ladders: tuple[tuple[str, list[dict[str, Any]]], ...]
    first: int
    second: int | None


def read_view(runs: Sequence[tuple[str, Path]]) -> View:
    """One or two runs as (label, path), the label "" for the path's own name. Raises UserError naming the file and what
    is wrong with it, and ReportError for more than a page holds.
    """
    room, sets, ladders, shown = Room(), [], [], []
    labels = _different([label or path.resolve().stem for label, path in runs])
    for label, (_, path) in zip(labels, runs, strict=True):
        start = len(sets)
        if not path.is_dir():
            sets.append(read_set(path, label, room))
            shown.append(start)
            continue
        if not (path / NAME).is_file():
            raise ReportError(f"{path}: no {NAME} in it: give a folder of `duomem compare`, or an episode file")
        panels, files = read_ladder(path)
        if not files or len(files) > _MOST_SETS:
            raise ReportError(f"{path}: has {len(files)} files of episodes in it, a page holds 1 to {_MOST_SETS}")
        before = f"{label}: " if len(runs) > 1 else ""
        sets += [read_set(file, before + name, room) for file, name in files.items()]
        numbers = {name: start + i for i, name in enumerate(files.values())}
        for row in (row for panel in panels for row in panel["rows"]):
            row["sets"] = [numbers[name] for name in row.pop("files")]
        ladders.append((label, panels))
        shown.append(max(range(start, len(sets)), key=lambda i: sum(e.won for e in sets[i].episodes)))
    return View(" and ".join(labels), tuple(sets), tuple(ladders), shown[0], shown[1] if len(shown) > 1 else None)


def _different(labels: Sequence[str]) -> list[str]:
    """The labels, a number after one that stood before."""
    return [f"{name} ({labels[:i].count(name) + 1})" if name in labels[:i] else name for i, name in enumerate(labels)]
