"""A folder that Hugging Face `datasets` loads: data/train.jsonl, and a README.md that is its card.

A row is a conversation as in chat.py, with duomem's fields as columns beside it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from duomem.core.errors import FileError
from duomem.core.files import atomic_folder
from duomem.core.told import Readings, told_of
from duomem.core.trajectory import SCHEMA, Trajectory
from duomem.train.formats.chat import messages_of, told_of_row
from duomem.train.formats.rows import read_rows

DATA = "data/train.jsonl"
CARD = "README.md"
_OPTIONAL = ("intro", "usage")

_STRING, _WHOLE = "string", "int64"
_LINES = ("game", "group", "split", "task_type", "object_type", "target_type", "goal", "goal_source", "template_goal")
_USAGE = {
    "tries": _WHOLE,
    "answers": _WHOLE,
    "prompt_tokens": _WHOLE,
    "completion_tokens": _WHOLE,
    "seconds": "float64",
}
_OWN = {"is_noise": "bool", "action": _STRING, "thought": _STRING}


def write(episodes: Iterable[Trajectory], out: Path) -> int:
    """Write the folder `out`; returns how many episodes."""
    kinds: Counter[str] = Counter()
    players: set[str] = set()
    won = 0
    with atomic_folder(out) as folder:
        (folder / DATA).parent.mkdir()
        with open(folder / DATA, "wb") as f:
            for played in episodes:
                f.write(json.dumps(_row(played), ensure_ascii=False).encode() + b"\n")
                kinds[played.task_type] += 1
                players.add(played.player)
                won += played.won
        (folder / CARD).write_text(_card(kinds, players, won), encoding="utf-8")
    return sum(kinds.values())


def _row(played: Trajectory) -> dict[str, Any]:
    """Every row has every column: what is not there is null."""
    told = told_of(played)
    facts = {**dict.fromkeys(_OPTIONAL), **(told.facts or {}), "last": played.last}
    facts["steps"] = [{**dict.fromkeys(_OWN), **step} for step in facts["steps"]]
    messages = [{"weight": 1 if m["role"] == "assistant" else None, **m} for m in messages_of(told)]
    return {"messages": messages, **facts}


def read(path: Path) -> Readings:
    """The episodes of a folder, or of a file of its rows. Raises FileError."""
    file = path / DATA if path.is_dir() else path
    if not file.is_file():
        raise FileError(f"{file}: no such file: give a folder that duomem exported, or a file of its rows")
    for number, row in enumerate(read_rows(file, "dataset file"), 1):
        where = f"{file}: line {number}"
        facts = {name: value for name, value in row.items() if name != "messages" and value is not None}
        if isinstance(facts.get("steps"), list):
            facts["steps"] = [_without_nulls(step) for step in facts["steps"]]
        yield where, partial(told_of_row, row, where, facts if facts.get("schema") == SCHEMA else None)


def _without_nulls(step: Any) -> Any:
    return {name: value for name, value in step.items() if value is not None} if isinstance(step, dict) else step


def _card(kinds: Counter[str], players: Iterable[str], won: int) -> str:
    """The card: what `datasets` is to load with which types, and what is in it."""
    count = sum(kinds.values())
    rows = "\n".join(f"| {kind} | {n} |" for kind, n in sorted(kinds.items()))
    by = ", ".join(f"`{json.dumps(player)[1:-1]}`" for player in sorted(players))
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {DATA}
dataset_info:
  features:
{_features()}
tags:
- alfworld
- agents
- trajectories
---
# Episodes of ALFWorld

{count} episodes of train games, {won} of them won, played by {by or "nobody"}. Written by `duomem trajectories export`,
and read back by `duomem trajectories import`.

`messages` is the conversation: the user tells the room and what a command brought, the assistant commands. A message of
weight 0 is injected noise, not to be learned. The other columns are those of duomem's trajectory files.

| task type | episodes |
|---|---|
{rows}
"""


def _features() -> str:
    """The columns and their types, as `datasets` reads them from a card."""
    lines = _struct_list("messages", {"weight": _WHOLE, "role": _STRING, "content": _STRING})
    lines += _column("intro", _STRING) + _struct("usage", _USAGE) + _column("schema", _WHOLE)
    for name in _LINES:
        lines += _column(name, _STRING)
    lines += [*_struct_list("steps", _OWN), "    - name: admissible", "      list: string"]
    for name, kind in (("won", "bool"), ("player", _STRING), ("seed", _WHOLE), ("last", _STRING)):
        lines += _column(name, kind)
    return "\n".join(lines)


def _column(name: str, kind: str, indent: str = "  ") -> list[str]:
    return [f"{indent}- name: {name}", f"{indent}  dtype: {kind}"]


def _struct(name: str, fields: dict[str, str], key: str = "struct") -> list[str]:
    return [f"  - name: {name}", f"    {key}:", *(line for f, k in fields.items() for line in _column(f, k, "    "))]


def _struct_list(name: str, fields: dict[str, str]) -> list[str]:
    return _struct(name, fields, "list")
