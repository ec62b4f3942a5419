"""What a file system does for a file to be whole or absent: waiting for the disk, and exchanging two names at once."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_MANY = 100
"""Files from which on one sync of their file system takes less time than one of each file."""
_HERE = -100
"""AT_FDCWD: relative names begin at the working folder."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of renameat2(2)."""


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def synced(folder: Path) -> Iterator[None]:
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
    syncfs = _linux("syncfs")
    if syncfs is None:
        return False
    if syncfs(fd):
        error = ctypes.get_errno()
        if error != errno.ENOSYS:
            raise OSError(error, os.strerror(error), str(folder))
        return False
    return True


def exchange(one: Path, other: Path) -> bool:
    """Exchange two existing names in one step; False where the kernel or the file system cannot. Raises OSError."""
    renameat2 = _linux("renameat2")
    if renameat2 is None:
        return False
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        error = ctypes.get_errno()
        if error not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(error, os.strerror(error), str(other))
        return False
    return True


def _linux(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of Linux's C library that Python does not know, None where there is none."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None
