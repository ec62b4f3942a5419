"""The episodes of one file, as a page holds them: what its tables need, and every record whole, compressed.

A file is read row by row and bounded: whoever wrote it, it takes little more memory than its compressed rows.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duomem.core.atif import document_text, file_name
from duomem.core.errors import ReportError, TrajectoryError, printable
from duomem.core.files import read_json, read_jsonl
from duomem.core.resumable_jsonl import sidecar_of
from duomem.core.trajectory import Trajectory, from_json
from duomem.report.view.choices import check_extras

_MOST_EPISODES = 20_000
_MOST_BYTES = 256 << 20
_MOST_FACTS, _LONGEST = 40, 200


@dataclass
class Room:
    """How much a page still takes, over all its files."""

    episodes: int = _MOST_EPISODES
    bytes: int = _MOST_BYTES

    def take(self, file: Path) -> None:
        """Count a file before it is read. Raises ReportError if it is too large."""
        self.bytes -= file.stat().st_size if file.is_file() else 0
        if self.bytes < 0:
            raise ReportError(f"{file}: a page holds at most {_MOST_BYTES >> 20} MB of episodes: give fewer of them")

    def take_episode(self, file: Path) -> None:
        """Raises ReportError if it is one too many."""
        self.episodes -= 1
        if self.episodes < 0:
            raise ReportError(f"{file}: a page holds at most {_MOST_EPISODES:,} episodes: give fewer of them")


@dataclass(frozen=True)
class Played:
    """An episode in numbers. tokens: run through a student, or read and written by a model that was asked."""

    task_id: str
    task_type: str
    won: bool
    steps: int
    seconds: float | None
    tokens: float | None


@dataclass(frozen=True)
class EpisodeSet:
    """name: in tables. facts: what the file was made from. records, documents: a JSON list of the rows, and one of
    [name, text] of their ATIF files, both gzip.
    """

    name: str
    facts: Mapping[str, str]
    episodes: tuple[Played, ...]
    records: bytes = field(repr=False)
    documents: bytes = field(repr=False)


class _JsonList:
    """A JSON list, compressed while it grows."""

    def __init__(self) -> None:
        self._gzip = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self._parts = [self._gzip.compress(b"[")]
        self._first = True

    def append(self, value: Any) -> None:
        """Raises ValueError for a number that JSON has not."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._parts.append(self._gzip.compress(("" if self._first else ",").encode() + text.encode()))
        self._first = False

    def finish(self) -> bytes:
        return b"".join([*self._parts, self._gzip.compress(b"]"), self._gzip.flush()])


def read_set(file: Path, name: str, room: Room) -> EpisodeSet:
    """The episodes of a file of `duomem eval` or `duomem teach`. Raises UserError naming the line and field that is
    wrong, or the limit that is passed.
    """
    room.take(file)
    records, documents, episodes = _JsonList(), _JsonList(), []
    for number, row in enumerate(read_jsonl(file, "episode file"), 1):
        room.take_episode(file)
        where = f"{file}: line {number}"
        played = from_json(row, where)
        check_extras(row, len(played.steps), where)
        try:
            records.append(row)
        except ValueError:
            raise TrajectoryError(f"{where}: holds a number that is not finite: play it again") from None
        documents.append([file_name(number), document_text(played, number)])
        episodes.append(_numbers(played, row))
    if not episodes:
        raise ReportError(f"{file}: lacks any episode: give a file of `duomem eval` or `duomem teach`")
    return EpisodeSet(name, read_facts(file), tuple(episodes), records.finish(), documents.finish())


def _numbers(played: Trajectory, row: Mapping[str, Any]) -> Played:
    seconds, tokens = row.get("seconds"), None
    if row.get("prefilled") is not None and row.get("decoded") is not None:
        tokens = row["prefilled"] + row["decoded"]
    elif played.usage is not None:
        seconds, tokens = played.usage.seconds, played.usage.prompt_tokens + played.usage.completion_tokens
    return Played(played.task_id, played.task_type, played.won, len(played.steps), seconds, tokens)


def read_facts(file: Path) -> dict[str, str]:
    """What the record of inputs beside an episode file says, as short texts; nothing if there is none."""
    sidecar = sidecar_of(file)
    inputs = read_json(sidecar, "record of inputs", 1 << 20) if sidecar.is_file() else {}
    if not isinstance(inputs, dict):
        return {}
    told = {name: value for name, value in inputs.items() if isinstance(value, (str, int, float))}
    return {_short(name.replace("_", " ")): _short(value) for name, value in list(told.items())[:_MOST_FACTS]}


def _short(value: str | float | bool) -> str:
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else printable(str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
