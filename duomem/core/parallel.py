"""Running one function over many items on several processes, in order, with Ctrl-C ending all of them.

With one job everything stays in this process. A `Pool` runs the same on processes that are elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeAlias, TypeVar

from duomem.core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool(Protocol):
    """Processes that are not this one's children: those of a cluster (RayPool in ray_pool.py)."""

    @property
    def size(self) -> int:
        """The most that work at once, at least 1."""
        ...

    def map(self, make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
        """As map_processes."""
        ...


Jobs: TypeAlias = "int | Pool"
"""The most processes to start on this machine, or the pool whose processes work instead."""

_worker: Callable[[Any], Any] | None = None
"""In a worker process, its worker: a pool's initializer has nowhere else to leave it. Always None in this one."""


def _start(make_worker: Callable[[], Callable[[Any], Any]]) -> None:
    """Make the process's worker. An error is kept for its first item: a pool cannot pass it on from here."""
    global _worker
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        _worker = make_worker()
    except Exception as e:
        _worker = _Failed(e)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went: nobody waits for results then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Failed:
    """The worker of a process in which none could be made."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, item: Any) -> Any:
        raise self._error


def _call(item: Any) -> Any:
    assert _worker is not None, "_start has not run in this process"
    return _worker(item)


def process_count(jobs: Jobs) -> int:
    """The most processes that map_processes works on."""
    return jobs if isinstance(jobs, int) else jobs.size


def map_processes(
    make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item], jobs: Jobs
) -> Iterator[Result]:
    """Yield worker(item) in the order of `items`, the worker of each process being what `make_worker()` gives there.

    make_worker: picklable, as a function of a module or a frozen dataclass with `__call__` is; the worker it makes,
    and what that holds, never leaves its process. jobs: most processes here, or a pool of others.

    Raises what a worker or its making raises; UserError for a worker that dies. Whatever ends this early ends the
    workers too, the death of this process among it.
    """
    if not items:
        return
    if not isinstance(jobs, int):
        yield from jobs.map(make_worker, items)
        return
    if jobs <= 1:
        yield from map(make_worker(), items)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(jobs, len(items)), multiprocessing.get_context("spawn"), _start, (make_worker,))
    try:
        # Workers inherit the mask: Ctrl-C is this process's to handle.
        unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            futures = [pool.submit(_call, item) for item in items]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        for future in futures:
            yield future.result()
    except BrokenProcessPool:
        raise UserError(
            f"one of {jobs} worker processes died, of memory or of a library not made for this CPU: try fewer --jobs"
        ) from None
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
