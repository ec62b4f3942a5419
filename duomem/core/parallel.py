"""Running one function over many items on several processes, in order, with Ctrl-C ending all of them.

With one job everything stays in this process.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from duomem.core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

_refused: BaseException | None = None


def _start(setup: Callable[..., None], arguments: Sequence[Any]) -> None:
    """Set a worker up. What goes wrong is kept for its first item: a pool cannot hand it on from here."""
    global _refused
    try:
        setup(*arguments)
    except Exception as e:
        _refused = e


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    if _refused is not None:
        raise _refused
    return function(item)


def map_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    setup: Callable[..., None],
    arguments: Sequence[Any] = (),
) -> Iterator[Result]:
    """Yield function(item) in the order of `items`. `setup(*arguments)` runs once in each process first.

    Function and setup must be importable by name. An exception in a worker, its setup included, is raised
    here; a worker that dies is a UserError. Whatever ends this early ends the workers too.
    """
    if not items:
        return
    if jobs <= 1:
        setup(*arguments)
        yield from map(function, items)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(jobs, len(items)), multiprocessing.get_context("spawn"), _start, (setup, arguments))
    try:
        # Workers inherit the mask: Ctrl-C is this process's to handle.
        unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            futures = [pool.submit(_call, function, item) for item in items]
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
