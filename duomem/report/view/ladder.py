"""The folder of `duomem compare` as its page shows it: the conditions by protocol, and the episodes that are there.

The table's numbers are those of compare.json. It names files; only those in the folder itself are ever read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duomem.core.errors import ReportError
from duomem.core.files import read_json, sha256_file
from duomem.report.table import FORMAT, VERSION, condition_cells, p_text

NAME = "compare.json"
_EPISODES = "episodes"
_MOST_ROWS = 200
_NUMBER = (int, float)
_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "taught": (str,),
    "panel": (str,),
    "n": (int,),
    "success": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "steps": _NUMBER,
    "seconds": (*_NUMBER, type(None)),
    "tokens": (*_NUMBER, type(None)),
    "seeds": (list,),
    "span": (list,),
    "runs": (list,),
}
_COMPARED: dict[str, tuple[type, ...]] = {
    "panel": (str,),
    "first": (str,),
    "second": (str,),
    "first_only": (int,),
    "second_only": (int,),
    "p": _NUMBER,
}


def read_ladder(folder: Path) -> tuple[list[dict[str, Any]], dict[Path, str]]:
    """The panels of a folder, and the episode files in it with their names.

    A panel has its name, rows (name, taught, cells of CONDITION_HEAD, success, low, high, files: names of the episodes
    that are there) and comparisons (cells of COMPARISON_HEAD). Raises ReportError naming what is wrong.
    """
    where = folder / NAME
    value = read_json(where, "table of a comparison")
    if not isinstance(value, dict) or value.get("format") != FORMAT or value.get("version") != VERSION:
        raise ReportError(f"{where}: field format is not {FORMAT} {VERSION}: give a folder of `duomem compare`")
    conditions = _objects(value, "conditions", _KINDS, where)
    if not conditions:
        raise ReportError(f"{where}: field conditions is empty: nothing was compared")
    files = _name_files(folder, conditions)
    comparisons = _objects(value, "comparisons", _COMPARED, where)
    panels = [
        {
            "name": panel,
            "rows": [_row(folder, condition, files, where) for condition in conditions if condition["panel"] == panel],
            "comparisons": [
                [c["first"], c["second"], str(c["first_only"]), str(c["second_only"]), p_text(c["p"])]
                for c in comparisons
                if c["panel"] == panel
            ],
        }
        for panel in dict.fromkeys(condition["panel"] for condition in conditions)
    ]
    return panels, files


def _objects(value: Mapping[str, Any], name: str, kinds: Mapping[str, Any], where: Path) -> list[dict[str, Any]]:
    rows = value.get(name)
    if not isinstance(rows, list) or len(rows) > _MOST_ROWS * _MOST_ROWS or not all(isinstance(r, dict) for r in rows):
        raise ReportError(f"{where}: field {name} is not a list of objects: run `duomem compare` again")
    for row in rows:
        for field, kind in kinds.items():
            found = row.get(field)
            if field not in row or not isinstance(found, kind) or isinstance(found, bool) or found != found:
                raise ReportError(f"{where}: field {field} of {name} is missing or wrong: run `duomem compare` again")
    return rows


def _row(folder: Path, condition: Mapping[str, Any], files: Mapping[Path, str], where: Path) -> dict[str, Any]:
    try:
        cells = condition_cells(condition)
    except (KeyError, TypeError, ValueError, IndexError):
        raise ReportError(f"{where}: field runs or span of conditions is wrong: run `duomem compare` again") from None
    return {
        "name": condition["name"],
        "taught": condition["taught"],
        "cells": cells,
        **{field: condition[field] for field in ("success", "low", "high")},
        "files": [files[file] for file, _ in _here(folder, condition) if file in files],
    }


def _name_files(folder: Path, conditions: list[dict[str, Any]]) -> dict[Path, str]:
    """The names of the episode files that are there, by condition, protocol where it matters, and seed."""
    found: dict[Path, list[tuple[str, str, str]]] = {}
    for condition in conditions:
        for file, (seed, digest) in _here(folder, condition):
            if sha256_file(file) != digest:
                raise ReportError(f"{file}: is not what {NAME} was made from: run `duomem compare` again")
            found.setdefault(file, []).append((condition["panel"], condition["name"], seed))
    names: dict[Path, str] = {}
    for file, places in found.items():
        panels = {panel for panel, _, _ in places}
        _, name, seed = places[0]
        in_panel = f", {panels.pop()}" if len(panels) == 1 and places[0][0] else ""
        names[file] = f"{name}{in_panel}{f', seed {seed}' if seed else ''}"
    return names


def _here(folder: Path, condition: Mapping[str, Any]) -> list[tuple[Path, tuple[str, Any]]]:
    """A condition's episode files in the folder, with their seeds and digests; what it names elsewhere is left out."""
    found = []
    for run, seed in zip(condition["runs"], condition["seeds"], strict=False):
        name = run.get("file") if isinstance(run, dict) else None
        file = folder / _EPISODES / Path(name).name if isinstance(name, str) and "\0" not in name else None
        if file is not None and file.is_file():
            found.append((file, (str(seed), run.get("sha256"))))
    return found
