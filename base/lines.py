"""A JSON-lines file made row by row over a long run: kept under a .partial name until it is complete.

An interrupted run finds its finished rows again; a row torn by a crash is dropped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import atomic_open


class PartialLines:
    """Rows of an unfinished file. Use as a context manager; call `finish()` when all rows are there.

    The first row of the .partial file is `inputs`; one made from other inputs is refused.
    """

    def __init__(self, path: Path, inputs: dict[str, Any]) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        good = 0
        if self.partial.is_file():
            good = self._load(inputs)
        self._file = open(self.partial, "r+b" if self.partial.is_file() else "w+b")  # noqa: SIM115
        self._file.truncate(good)
        self._file.seek(good)
        if not good:
            self._write(inputs)

    def _load(self, inputs: dict[str, Any]) -> int:
        """Read the whole rows back; returns the bytes they take."""
        good = 0
        with open(self.partial, "rb") as f:
            for line in f:
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n") or not isinstance(row, dict):
                    break
                if good == 0 and row != inputs:
                    raise UserError(f"{self.partial}: an unfinished run with other inputs: finish that one, delete "
                                    "the file, or write elsewhere with --out")
                if good:
                    self.rows.append(row)
                good += len(line)
        return good

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; it survives a crash of this process."""
        self.rows.append(row)
        self._write(row)

    def finish(self) -> None:
        """Write the rows, without the inputs, to the final name and drop the partial file."""
        with atomic_open(self.path, "wb") as f:
            for row in self.rows:
                f.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.close()
        self.partial.unlink()

    def __enter__(self) -> PartialLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._file.close()
