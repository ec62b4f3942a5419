"""Running one function over many items on several processes, in order, with Ctrl-C ending all of them.

With one job everything stays in this process.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def _start(setup: Callable[..., None], arguments: Sequence[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup(*arguments)


def map_processes(function: Callable[[Item], Result], items: Sequence[Item], jobs: int,
                  setup: Callable[..., None], arguments: Sequence[Any] = ()) -> Iterator[Result]:
    """Yield function(item) in the order of `items`. `setup(*arguments)` runs once in each process first.

    Function and setup must be importable by name. An exception in a worker is raised here.
    """
    if not items:
        return
    if jobs <= 1:
        setup(*arguments)
        yield from map(function, items)
        return
    pool = multiprocessing.get_context("spawn").Pool(min(jobs, len(items)), _start, (setup, arguments))
    with pool:
        yield from pool.imap(function, items)
