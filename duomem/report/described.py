"""Conditions described in a TOML file: what `duomem report` makes of single evaluations, as budget curves.

title = "Success against training time"
axis = "minutes of training"
[[condition]]
name = "15 min, teacher memory"
taught = "programmatic expert"
episodes = ["seed0.jsonl", "seed1.jsonl"]   # one file a training seed
seeds = ["0", "1"]
series = "teacher memory"
at = 15                                     # or a name, as "look_at_obj_in_light"
panel = "free"
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.errors import ReportError
from duomem.core.files import read_toml
from duomem.report.condition import Condition

_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "taught": (str,),
    "episodes": (list,),
    "seeds": (list,),
    "series": (str,),
    "at": (str, int, float),
    "panel": (str,),
}
_NEEDED = ("name", "taught", "episodes")


@dataclass(frozen=True)
class Description:
    """title, axis: of the figure; conditions in the file's order."""

    title: str
    axis: str
    conditions: tuple[Condition, ...]


def read_description(path: Path) -> Description:
    """The conditions of the TOML file. Raises ReportError naming file, condition and field if one is wrong."""
    value = read_toml(path, "description of conditions")
    conditions = value.pop("condition", None)
    title, axis = value.pop("title", path.stem), value.pop("axis", "")
    if value:
        raise ReportError(f"{path}: unknown field {min(value)}: known are title, axis and [[condition]]")
    if not isinstance(title, str) or not isinstance(axis, str):
        raise ReportError(f"{path}: fields title and axis must be texts")
    if (
        not isinstance(conditions, list)
        or not conditions
        or not all(isinstance(condition, dict) for condition in conditions)
    ):
        raise ReportError(f"{path}: holds no [[condition]]: describe one for each row")
    return Description(
        title, axis, tuple(_condition(condition, f"{path}: condition {n}") for n, condition in enumerate(conditions, 1))
    )


def _condition(value: dict[str, Any], where: str) -> Condition:
    for name in _NEEDED:
        if name not in value:
            raise ReportError(f"{where}: field {name} is missing")
    for name, found in value.items():
        if name not in _KINDS:
            raise ReportError(f"{where}: unknown field {name}: known are {', '.join(_KINDS)}")
        if not isinstance(found, _KINDS[name]) or isinstance(found, bool):
            raise ReportError(f"{where}: field {name} must be a {' or '.join(kind.__name__ for kind in _KINDS[name])}")
    files = value["episodes"]
    seeds = value.get("seeds", [""] if len(files) == 1 else [str(n) for n in range(len(files))])
    if not files or not all(isinstance(text, str) for text in [*files, *seeds]):
        raise ReportError(f"{where}: fields episodes and seeds must be lists of texts, episodes not an empty one")
    if len(seeds) != len(files):
        raise ReportError(f"{where}: {len(files)} episodes but {len(seeds)} seeds: name a seed for each file")
    return Condition(
        value["name"],
        value["taught"],
        tuple(map(Path, files)),
        tuple(seeds),
        value.get("panel", ""),
        value.get("series", ""),
        value.get("at"),
    )
