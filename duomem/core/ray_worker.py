"""What runs in a Ray actor: it checks that its node has the same duomem and sees the same files, and then works.

No Ray here: an actor is this class, made remote by ray_pool.py.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from duomem.core.errors import UserError


@dataclass(frozen=True)
class Setup:
    """What every actor starts from.

    make_worker: see map_processes. folder: the working folder, None where no path needs it. files: those that
    make_worker and the items name, each with its bytes, None for a folder. duomem: the version.
    """

    make_worker: Callable[[], Callable[[Any], Any]]
    folder: str | None
    files: tuple[tuple[str, int | None], ...]
    duomem: str


def setup_of(make_worker: Callable[[], Callable[[Any], Any]], items: Sequence[Any]) -> Setup:
    """The start of a run over `items`: its files are all paths in dataclasses, lists and tuples that are here."""
    found = {path: None for value in (make_worker, *items) for path in _paths(value) if path.exists()}
    relative = any(not path.is_absolute() for path in found)
    files = tuple((str(path), path.stat().st_size if path.is_file() else None) for path in found)
    return Setup(make_worker, os.getcwd() if relative else None, files, _duomem_version())


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _paths(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _paths(getattr(value, field.name))


class RayWorker:
    """A worker in a process of a cluster: `start` makes it, `work` is it."""

    def __init__(self) -> None:
        self._worker: Callable[[Any], Any] = _not_started

    def start(self, setup: Setup) -> None:
        """Raises UserError naming this node for another duomem, and for a file that it does not see; whatever the
        making raises.
        """
        node = socket.gethostname()
        if setup.duomem != (own := _duomem_version()):
            raise UserError(f"node {node}: has duomem {own}, this is {setup.duomem}: install the same on every node")
        if setup.folder is not None:
            _check(node, setup.folder, None)
            os.chdir(setup.folder)
        for path, size in setup.files:
            _check(node, path, size)
        self._worker = setup.make_worker()

    def work(self, item: Any) -> Any:
        """Raises what the worker raises."""
        return self._worker(item)


def _duomem_version() -> str:
    from importlib.metadata import version  # here: every command loads this module, and that one is slow

    return version("duomem")


def _check(node: str, path: str, size: int | None) -> None:
    try:
        found = os.stat(path).st_size
    except OSError as e:
        raise UserError(
            f"node {node}: {path}: {e.strerror}: every node must see this under the same path, as in a shared folder"
        ) from None
    if size not in (None, found):
        raise UserError(f"node {node}: {path}: has {found} bytes there and {size} here: give every node the same file")


def _not_started(item: Any) -> Any:
    raise AssertionError("start has not run in this process")
