"""What the formats' readers share: hostile values, one clear line each, and the ways that files name a game."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from duomem.core.errors import FileError, TrajectoryError
from duomem.core.files import read_json, read_jsonl
from duomem.core.reading import open_regular, parse_json
from duomem.core.told import OURS, Told

_NAMING = ("game_file", "gamefile", "game", "task_id", "item_id", "id", "session_id", "trajectory_id")
_MOST_TURNS = 2_000
_LINE_LIMIT = 16 << 20
_GOAL = "Your task is to:"


def read_rows(path: Path, what: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, also of one whose last line has no end. Raises FileError."""
    yield from read_jsonl(path, what)
    with open_regular(path) as f:
        f.seek(max(0, f.seek(0, os.SEEK_END) - _LINE_LIMIT))
        last = f.read().rpartition(b"\n")[2]
    if last.strip():
        row = parse_json(last, f"{path}: the last line of this {what}", _LINE_LIMIT)
        if not isinstance(row, dict):
            raise FileError(f"{path}: the last line of this {what} is not a JSON object: make it again")
        yield row


def read_whole(path: Path, what: str, limit: int) -> Any:
    """The JSON of a file of at most `limit` bytes, without memory for more than it has. Raises FileError."""
    return read_json(path, what, min(limit, path.stat().st_size) if path.exists() else limit)


def told_of_turns(turns: Sequence[tuple[str, str]], row: Mapping[str, Any], facts: Any, where: str) -> Told:
    """The episode of a conversation.

    turns: (role, text), roles "user" and "assistant"; others are left out. A foreign conversation begins at the user's
    last message that tells a goal: what stands before is instructions and examples. facts: duomem's, with the last
    observation as `last`; None if there are none. Raises TrajectoryError.
    """
    if len(turns) > _MOST_TURNS:
        raise TrajectoryError(f"{where}: has more than {_MOST_TURNS} messages: not an episode")
    turns = [(role, text) for role, text in turns if role in ("user", "assistant")]
    if facts is not None and not isinstance(facts, dict):
        raise TrajectoryError(f"{where}: field {OURS} is not an object: export it again")
    if facts is None:
        starts = [i for i, (role, text) in enumerate(turns) if role == "user" and _GOAL in text]
        if not starts:
            raise TrajectoryError(f'{where}: no message of the user has "{_GOAL}": not an episode of ALFWorld')
        turns = turns[starts[-1] :]
    roles = [role for role, _ in turns]
    if roles != [("user", "assistant")[i % 2] for i in range(len(roles))] or not roles:
        raise TrajectoryError(f"{where}: messages of user and assistant do not take turns: not an episode")
    observations = [text for role, text in turns if role == "user"]
    said = tuple(text for role, text in turns if role == "assistant")
    if facts is not None and said:
        observations.append(text_of(facts.get("last"), f"{where}: field last"))
    return Told(tuple(observations), said, None, names_in(row), facts)


def names_in(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Whatever in a row may name its game."""
    places = [row, *(row[field] for field in ("metadata", "extra", "info") if isinstance(row.get(field), dict))]
    return tuple(place[field] for place in places for field in _NAMING if isinstance(place.get(field), str))


def text_of(value: Any, where: str) -> str:
    """A message's text: a string, or the texts of a list of parts. Raises TrajectoryError."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        texts = [part.get("text") for part in value if part.get("type") == "text"]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(map(str, texts))
    raise TrajectoryError(f"{where}: is no text: not an episode")


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """`value`, if it is a list of objects. Raises TrajectoryError naming `where`."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TrajectoryError(f"{where} is not a list of objects: not an episode")
    return value
