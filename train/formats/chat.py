"""Chat-message JSON lines, as trl, axolotl and LLaMA-Factory train on: {"messages": [{"role", "content"}]} an episode.

Messages of injected noise have "weight": 0, which trainers that know it leave out of the loss.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from duomem.core.files import atomic_open
from duomem.core.told import OURS, Readings, Told, told_of
from duomem.core.trajectory import Trajectory
from duomem.train.formats.rows import objects, read_rows, text_of, told_of_turns

_ROLES = {"tool": "user", "environment": "user", "human": "user", "gpt": "assistant"}


def messages_of(told: Told) -> list[dict[str, Any]]:
    """The episode as messages of user and assistant, ending with the player's last."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": told.observations[0]}]
    steps = (told.facts or {}).get("steps", [{}] * len(told.said))
    for said, seen, step in zip(told.said, told.observations[1:], steps, strict=True):
        weight = {"weight": 0} if step.get("is_noise") else {}
        messages += [{"role": "assistant", "content": said, **weight}, {"role": "user", "content": seen}]
    return messages[:-1] if told.said else messages


def told_of_row(row: dict[str, Any], where: str, facts: Any) -> Told:
    """The episode of a row of messages. Raises TrajectoryError."""
    turns = []
    for number, message in enumerate(objects(row.get("messages"), f"{where}: field messages"), 1):
        role = str(message.get("role"))
        turns.append((_ROLES.get(role, role), text_of(message.get("content"), f"{where}: message {number}")))
    return told_of_turns(turns, row, facts, where)


def write(episodes: Iterable[Trajectory], out: Path) -> int:
    """Write a line an episode to the file `out`; returns how many."""
    count = 0
    with atomic_open(out) as f:
        for played in episodes:
            told = told_of(played)
            row = {"messages": messages_of(told), OURS: {**(told.facts or {}), "last": played.last}}
            f.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def read(path: Path) -> Readings:
    """The episodes of a file. Raises FileError."""
    for number, row in enumerate(read_rows(path, "file of chat messages"), 1):
        where = f"{path}: line {number}"
        yield where, partial(told_of_row, row, where, row.get(OURS))
