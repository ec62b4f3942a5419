"""One process at a time in a folder: a lock that ends with the process that holds it, and leaves no file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from duomem.core.errors import CatalogueError

WAIT = 60.0
"""Seconds to wait for another process."""
_PAUSE = 0.05


@contextlib.contextmanager
def locked(folder: Path, wait: float = WAIT) -> Iterator[None]:
    """Hold the lock on `folder`, made if it is not there. Raises CatalogueError after `wait` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + wait
        while not _taken(fd):
            if time.monotonic() > deadline:
                raise CatalogueError(f"{folder}: another duomem is changing what is in it: wait for it, then try again")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
