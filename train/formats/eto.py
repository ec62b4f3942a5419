"""ETO's conversations, which AgentTraj has too: a JSON list of {"id", "conversations": [{"from": "human" | "gpt",
"value"}]}, or JSON lines of them.

Commands stand behind "Action: ", what they brought behind "Observation: ".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from duomem.core.errors import FileError
from duomem.core.files import atomic_open
from duomem.core.reading import open_regular
from duomem.core.told import OURS, Readings, Told, told_of
from duomem.core.trajectory import Trajectory
from duomem.train.formats.rows import objects, read_rows, read_whole, text_of, told_of_turns

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_SEEN = "Observation: "
_LIMIT = 512 << 20


def write(episodes: Iterable[Trajectory], out: Path) -> int:
    """Write the list to the file `out`; returns how many episodes."""
    number = 0
    with atomic_open(out) as f:
        for number, played in enumerate(episodes, 1):
            f.write(b"[\n" if number == 1 else b",\n")
            f.write(json.dumps(_row(played), ensure_ascii=False).encode())
        f.write(b"\n]\n" if number else b"[]\n")
    return number


def _row(played: Trajectory) -> dict[str, Any]:
    told = told_of(played, marked=True)
    turns = [{"from": "human", "value": told.observations[0]}]
    for said, seen in zip(told.said, told.observations[1:], strict=True):
        turns += [{"from": "gpt", "value": said}, {"from": "human", "value": _SEEN + seen}]
    facts = {**(told.facts or {}), "last": played.last}
    return {"id": played.task_id, "conversations": turns[:-1] if told.said else turns, OURS: facts}


def read(path: Path) -> Readings:
    """The episodes of a file. Raises FileError."""
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}: episode {number}"
        yield where, partial(_told, row, where)


def _told(row: dict[str, Any], where: str) -> Told:
    turns = []
    for turn in objects(row.get("conversations"), f"{where}: field conversations"):
        text = text_of(turn.get("value"), f"{where}: a value")
        turns.append((_ROLES.get(str(turn.get("from")), ""), text.removeprefix(_SEEN) if turns else text))
    return told_of_turns(turns, row, row.get(OURS), where)


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    what = "file of conversations"
    try:
        with open_regular(path) as f:
            is_list = f.read(64).lstrip()[:1] == b"["
    except OSError as e:
        raise FileError(f"{path}: cannot read this {what}: {e.strerror or e}") from None
    return _objects(read_whole(path, what, _LIMIT), path) if is_list else read_rows(path, what)


def _objects(rows: Any, path: Path) -> list[dict[str, Any]]:
    if not all(isinstance(row, dict) for row in rows):
        raise FileError(f"{path}: holds something else than objects: give a list of conversations")
    return rows
