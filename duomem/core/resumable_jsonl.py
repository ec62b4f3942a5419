"""A JSON-lines file made row by row over a long run, resumable and idempotent.

Rows gather under a .partial name; the complete file has its inputs beside it in FILE.inputs.json.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from duomem.core.claim import Claim, claimed, naming
from duomem.core.errors import FileError
from duomem.core.files import read_json, read_jsonl, write_json
from duomem.core.reading import open_regular


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def sidecar_of(path: Path) -> Path:
    """Where it says what the complete file `path` was made from."""
    return path.with_name(path.name + ".inputs.json")


class ResumableJsonl:
    """The rows made so far of the file `path` from `inputs` (any JSON object that identifies them).

    rows: those already there; done: whether the file is complete. Use as a context manager, `append` the
    missing rows, then `finish()`. Nothing is written before the first row; from then on no other process can write
    the file. Raises FileError if what is there was made from other inputs, or `path` is a folder.
    """

    def __init__(self, path: Path, inputs: dict[str, Any]) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._sidecar = sidecar_of(self.path)
        self._inputs = inputs
        self.done = self.path.is_file()
        self.rows: list[dict[str, Any]] = []
        self._file: IO[bytes] | None = None
        self._claim: Claim | None = None
        self._held = contextlib.ExitStack()
        self._whole = 0
        self._bytes = self._partial_bytes()
        if self.path.is_dir():
            raise FileError(f"{self.path}: is a folder, a file is to be written there: give another --out")
        if self.done:
            self._check(read_json(self._sidecar, "record of inputs"), self.path)
            self.rows = list(read_jsonl(self.path, "result file"))
        elif self._partial.is_file():
            self._whole = self._load()

    def _check(self, found: Any, file: Path) -> None:
        if found != self._inputs:
            raise FileError(
                f"{file}: made from other inputs (games, packs, students or options): write elsewhere with "
                "--out, or delete it"
            )

    def _partial_bytes(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0

    def _load(self) -> int:
        """Read the whole rows back; returns the bytes they take. A row torn by a crash is dropped."""
        whole = 0
        with open_regular(self._partial) as f:
            for line in f:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    break
                if not line.endswith(b"\n"):
                    break
                if whole:
                    self.rows.append(row)
                else:
                    self._check(row, self._partial)
                whole += len(line)
        return whole

    def _open(self) -> IO[bytes]:
        """The partial file, ready for its next row; what a crash left after the whole rows is cut off.

        Raises FileError if another process writes the file, or did since this one looked.
        """
        self._claim = self._held.enter_context(claimed(self.path))
        if self.path.exists() or self._partial_bytes() != self._bytes:
            self._held.close()
            raise FileError(f"{self.path}: another process wrote it meanwhile: give the same command again")
        file = open(self._partial, "r+b" if self._whole else "wb")  # noqa: SIM115
        file.truncate(self._whole)
        file.seek(self._whole)
        if not self._whole:
            file.write(_line(self._inputs))
        return file

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; it survives a crash of this process."""
        if self.done:
            raise ValueError(f"{self.path} is complete")
        with naming(self._partial):
            if self._file is None:
                self._file = self._open()
            self._file.write(_line(row))
            self._file.flush()
        self.rows.append(row)

    def finish(self, rows: Sequence[dict[str, Any]] | None = None) -> None:
        """Give the rows their final name, and write what they were made from beside them.

        rows: what the complete file holds instead, made of the rows appended alone: sorted, say.
        """
        if self._file is None:
            self._file = self._open()
        assert self._claim is not None, "_open claims the file"
        if rows is not None:
            self.rows = list(rows)
        write_json(self._sidecar, self._inputs)
        with self._claim.open() as f:
            for row in self.rows:
                f.write(_line(row))
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> ResumableJsonl:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            if self._file is not None:
                with naming(self._partial):
                    self._file.close()
