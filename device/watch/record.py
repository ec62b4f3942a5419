"""The episode file that watched episodes are appended to, one row each as in the files of `duomem eval`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from duomem.core.claim import claimed, naming
from duomem.core.errors import FileError
from duomem.core.reading import open_regular
from duomem.core.resumable_jsonl import sidecar_of
from duomem.core.trajectory import SCHEMA
from duomem.core.user_folders import data_folder

_PATIENCE = 10.0
_FIRST_LINE = 1 << 20


def default_record() -> Path:
    """Where episodes are recorded unless told otherwise. Raises FileError for a user without a home folder."""
    return data_folder() / "episodes.jsonl"


def check_record(path: Path) -> None:
    """Raises FileError if episodes must not be appended to what is at `path`."""
    if sidecar_of(path).exists():
        raise FileError(f"{path}: is a finished file of `duomem eval`: give another --out")
    try:
        with open_regular(path) as f:
            line = f.readline(_FIRST_LINE)
    except FileNotFoundError:
        return
    except OSError as e:
        raise FileError(f"{path}: cannot read this episode file: {e.strerror or e}") from None
    try:
        row = json.loads(line) if line else {"schema": SCHEMA}
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or row.get("schema") != SCHEMA:
        raise FileError(f"{path}: is no episode file: give another --out")


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append an episode's row; it is on the disk when this returns. What a crash left of a last row is cut off.

    Raises FileError as check_record, or if another process goes on writing the file.
    """
    with claimed(path, _PATIENCE), naming(path):
        check_record(path)
        with open(path, "ab+") as f:
            f.truncate(_whole(f.fileno()))
            f.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            f.flush()
            os.fsync(f.fileno())


def _whole(file: int) -> int:
    """Bytes up to the end of the last whole line."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - 65536)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
