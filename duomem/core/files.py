"""Files that are either whole or absent: atomic writes, digests, JSON lines, hostile JSON reading.

Every file duomem writes goes through here: temporary name, fsync, rename (see claim). Every one it reads, too: regular
files alone, bounded.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeGuard

from duomem.core.claim import claimed
from duomem.core.errors import FileError
from duomem.core.reading import open_regular, parse_json, text_only

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

_CHUNK = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
_PATIENCE = 2.0
"""Seconds to wait for another writer of the same file: most are written in far less."""
_TOML_LIMIT = 1 << 20
_LINE_LIMIT = 16 << 20


def is_sha256(value: object) -> TypeGuard[str]:
    """Whether it is a SHA-256 as duomem writes one: 64 hex digits, lower case."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a regular file, read in 1 MiB pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as f:
        while piece := f.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def sha256_input(path: Path, what: str) -> str:
    """Hex SHA-256 of a file that a user names; `what` names it in errors. Raises FileError."""
    try:
        return sha256_file(path)
    except OSError as e:
        raise _unreadable(path, what, e) from None


def check_sha256(path: Path, expected: str, what: str) -> None:
    """Raises FileError unless the file's SHA-256 is `expected`, 64 hex digits; `what` names the file in errors."""
    found = sha256_input(path, what)
    if found != expected:
        raise FileError(
            f"{path}: the SHA-256 of this {what} is {found}, not the expected {expected}: take another copy"
        )


def _unreadable(path: Path, what: str, error: OSError) -> FileError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return FileError(f"{path}: no such {what}: check the path")
    return FileError(f"{path}: cannot read this {what}: {error.strerror or error}")


@contextlib.contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file beside `path`; on a clean exit it replaces `path`, see Claim.open.

    Raises FileError if another process goes on writing `path`.
    """
    with claimed(path, _PATIENCE) as claim, claim.open() as f:
        yield f


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_open(path) as f:
        f.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on a clean exit it replaces `path`, see Claim.folder.

    Raises FileError if `path` is a file, or another process writes it.
    """
    with claimed(path) as claim, claim.folder() as work:
        yield work


def read_json(path: Path, what: str, limit: int = 64 << 20) -> Any:
    """Parse a JSON file of at most `limit` bytes. `what` names it in errors ("game", "manifest").

    Raises FileError if it is missing, too large, not UTF-8 or not JSON.
    """
    path = Path(path)
    try:
        with open_regular(path) as f:
            data = f.read(limit + 1)
    except OSError as e:
        raise _unreadable(path, what, e) from None
    return parse_json(data, f"{path}: {what}", limit)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Parse a TOML file; `what` names it in errors. Raises FileError if it is missing or not TOML."""
    try:
        with open_regular(path) as f:
            data = f.read(_TOML_LIMIT + 1)
    except OSError as e:
        raise _unreadable(path, what, e) from None
    if len(data) > _TOML_LIMIT:
        raise FileError(f"{path}: this {what} is larger than {_TOML_LIMIT} bytes")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise FileError(f"{path}: this {what} is not valid TOML: {e}") from None


def read_jsonl(path: Path, what: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file. A last line cut off by a crash is passed over;
    any other bad line is a FileError naming the line.
    """
    path = Path(path)
    try:
        f = open_regular(path)
    except OSError as e:
        raise _unreadable(path, what, e) from None
    with f:
        for number in itertools.count(1):
            line = f.readline(_LINE_LIMIT + 1)
            if len(line) > _LINE_LIMIT:
                raise FileError(f"{path}: line {number} of this {what} is longer than {_LINE_LIMIT} bytes: not read")
            if not line.endswith(b"\n"):
                return
            try:
                value = text_only(json.loads(line), line)
            except (ValueError, RecursionError):
                raise FileError(f"{path}: line {number} of this {what} is not JSON: make it again") from None
            if not isinstance(value, dict):
                raise FileError(f"{path}: line {number} of this {what} is not a JSON object: make it again")
            yield value
