"""Files that are either whole or absent: atomic writes, digests, JSON lines, hostile JSON reading.

Every file duomem writes goes through here: temporary name, fsync, rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from duomem.core.errors import FileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

_CHUNK = 1 << 20
_MANY = 100
"""Files from which on one sync of their file system takes less time than one of each file."""


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in 1 MiB pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
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


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put `path` into an OSError that names no file, as those of a write to a full disk do."""
    try:
        yield
    except OSError as e:
        if e.filename is None:
            e.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file beside `path`; on a clean exit fsync it and rename it to `path`.

    On any exception, Ctrl-C included, the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with naming(path), os.fdopen(fd, "wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
        _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_open(path) as f:
        f.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def _synced(folder: Path) -> Iterator[None]:
    """On a clean exit, wait until every file below `folder` is on the disk. Raises OSError if one cannot be written."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield
        files = [file for file in folder.rglob("*") if file.is_file()]
        if len(files) >= _MANY and _sync_file_system(fd, folder):
            return
        for file in files:
            with open(file, "rb") as f:
                os.fsync(f.fileno())
    finally:
        os.close(fd)


def _sync_file_system(fd: int, folder: Path) -> bool:
    """Sync what `fd` is on; False where the system cannot. Raises OSError if a write failed since `fd` was opened.

    Linux alone waits and tells of failures (syncfs(2)); Python does not know the call.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None
    if syncfs is None:
        return False
    if syncfs(fd):
        error = ctypes.get_errno()
        if error != errno.ENOSYS:
            raise OSError(error, os.strerror(error), str(folder))
        return False
    return True


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on a clean exit it replaces `path` (an old one is removed
    only after the new one is complete). On any exception it is deleted and `path` is as it was. Raises
    FileError if `path` is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise FileError(f"{path}: is a file, a folder is to be written there: give another place")
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    old = work.with_suffix(".old")
    try:
        with _synced(work):
            yield work
        os.chmod(work, 0o777 & ~_umask())
        if path.exists():
            os.replace(path, old)
        os.replace(work, path)
        _sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        for leftover in (work, old):
            shutil.rmtree(leftover, ignore_errors=True)
        raise


def read_json(path: Path, what: str, limit: int = 64 << 20) -> Any:
    """Parse a JSON file of at most `limit` bytes. `what` names it in errors ("game", "manifest").

    Raises FileError if it is missing, too large, not UTF-8 or not JSON.
    """
    path = Path(path)
    try:
        with open(path, "rb") as f:
            data = f.read(limit + 1)
    except OSError as e:
        raise _unreadable(path, what, e) from None
    return parse_json(data, f"{path}: {what}", limit)


def parse_json(data: bytes, where: str, limit: int) -> Any:
    """Parse untrusted JSON bytes; FileError naming `where` if too large, not UTF-8, not JSON or too deep."""
    if len(data) > limit:
        raise FileError(f"{where} is larger than {limit} bytes: not a file duomem wrote")
    try:
        return _text_only(json.loads(data.decode("utf-8")), data)
    except (ValueError, RecursionError) as e:  # ValueError also for a number of too many digits
        raise FileError(f"{where} is not valid JSON ({e}): it is damaged, make or copy it again") from None


def _text_only(value: Any, data: bytes) -> Any:
    """`value`, parsed of the JSON `data`. Raises ValueError if it holds half a surrogate pair, which is no text."""
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Parse a TOML file; `what` names it in errors. Raises FileError if it is missing or not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise _unreadable(path, what, e) from None
    except (ValueError, RecursionError) as e:
        raise FileError(f"{path}: this {what} is not valid TOML: {e}") from None


def read_jsonl(path: Path, what: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file. A last line cut off by a crash is passed over;
    any other bad line is a FileError naming the line.
    """
    path = Path(path)
    try:
        f = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except OSError as e:
        raise _unreadable(path, what, e) from None
    with f:
        for number, line in enumerate(f, 1):
            if not line.endswith(b"\n"):
                return
            try:
                value = _text_only(json.loads(line), line)
            except (ValueError, RecursionError):
                raise FileError(f"{path}: line {number} of this {what} is not JSON: make it again") from None
            if not isinstance(value, dict):
                raise FileError(f"{path}: line {number} of this {what} is not a JSON object: make it again")
            yield value
