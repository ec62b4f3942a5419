"""One writer a path, whatever is killed when: a lock held to the end, and the next writer sweeps what a dead one left.

Beside PATH stand .PATH.lock while it is written, .PATH.XXXXXXXX.tmp (the new one) and .PATH.XXXXXXXX.old (the one
before, between two renames). A kernel drops the lock of a process that ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from duomem.core.disk import exchange, sync_folder, synced
from duomem.core.errors import FileError

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_PAUSE = 0.02  # seconds


@dataclass(frozen=True)
class Claim:
    """The right to write `path`, see `claimed`."""

    path: Path

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open a temporary binary file beside the path; on a clean exit fsync it and rename it to the path.

        On any exception, Ctrl-C included, the temporary file is removed and the path is as it was.
        """
        path = self.path
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with naming(path), os.fdopen(fd, "wb") as f:
                yield f
                f.flush()
                os.fsync(f.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield a temporary folder beside the path; on a clean exit it takes the path's place, in one step where the
        kernel can, and an old one is removed after it. On any exception it is deleted and the path is as it was.
        Raises FileError if the path is a file.
        """
        path = self.path
        if path.exists() and not path.is_dir():
            raise FileError(f"{path}: is a file, a folder is to be written there: give another place")
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        old = work.with_suffix(".old")
        try:
            with synced(work):
                yield work
            os.chmod(work, 0o777 & ~_umask())
            if not (path.exists() and exchange(work, path)):
                if path.exists():
                    os.replace(path, old)
                os.replace(work, path)
            sync_folder(path.parent)
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
        finally:
            _remove(work)
            _remove(old)


@contextlib.contextmanager
def claimed(path: Path, patience: float = 0) -> Iterator[Claim]:
    """Hold `path`: no other process writes it meanwhile. What a dead writer left is put right or removed first.

    patience: seconds to wait for another writer. Raises FileError if one still writes then. A file system without
    locks is written without.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise FileError(f"{path}: names no file or folder of its own to write: give another place")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    fd = _locked(lock, path, time.monotonic() + patience)
    try:
        if fd is not None:
            _sweep(path)
        yield Claim(path)
    finally:
        if fd is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(lock)
            os.close(fd)


def _locked(lock: Path, path: Path, until: float) -> int | None:
    """The open, locked file `lock`; None where there are no locks."""
    while True:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, lock):
                return fd
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(fd)
                raise FileError(
                    f"{path}: another process is writing it: wait until that has ended, or give another place"
                ) from None
            time.sleep(_PAUSE)
        except OSError as e:
            if e.errno in _NO_LOCKS:
                os.unlink(lock)
                os.close(fd)
                return None
            os.close(fd)
            raise
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file still has this name: its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _sweep(path: Path) -> None:
    """Give back what a writer killed between two renames took away, and remove the rest that dead writers left."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.(tmp|old)")
    found = sorted(Path(item.path) for item in os.scandir(path.parent) if left.fullmatch(item.name))
    for item in found:
        if item.suffix == ".old" and not os.path.lexists(path):
            os.replace(item, path)
        else:
            _remove(item)


def _remove(path: Path) -> None:
    """A file, link or folder, if it is there; what cannot be removed stays for the next writer."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put `path` into an OSError that names no file, as those of a write to a full disk do."""
    try:
        yield
    except OSError as e:
        if e.filename is None:
            e.filename = str(path)
        raise
