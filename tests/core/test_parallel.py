"""Work on several processes comes back in order; errors, dead workers and Ctrl-C end it without a hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import pytest

from duomem.core import parallel
from duomem.core.errors import UserError
from duomem.core.parallel import map_processes


@dataclass(frozen=True)
class _Adder:
    """Makes a worker that adds `offset`, and tells its process and how many items that process had before."""

    offset: int = 0

    def __call__(self) -> Callable[[int], tuple[int, int, int]]:
        done: list[int] = []

        def add(item: int) -> tuple[int, int, int]:
            time.sleep(0.05 if item == 0 else 0)
            if item < 0:
                raise UserError(f"{item} is below 0")
            done.append(item)
            return item + self.offset, os.getpid(), len(done) - 1

        return add


def _refuse() -> Callable[[int], int]:
    raise UserError("the bundle is damaged")


def _napper() -> Callable[[int], int]:
    def nap(seconds: int) -> int:
        time.sleep(seconds)
        return seconds

    return nap


def _dying() -> Callable[[int], None]:
    return lambda item: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_order_and_processes(jobs: int) -> None:
    results = list(map_processes(_Adder(10), range(6), jobs))
    assert [value for value, *_ in results] == [10, 11, 12, 13, 14, 15]
    assert (os.getpid() in {pid for _, pid, _ in results}) == (jobs == 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_makes_one_worker_and_keeps_it(jobs: int) -> None:
    """And none of it stays: a second map starts anew, and this process never holds a worker between items."""
    for _ in range(2):
        counts: dict[int, list[int]] = {}
        for _, pid, before in map_processes(_Adder(), range(6), jobs):
            counts.setdefault(pid, []).append(before)
            assert parallel._worker is None
        assert all(sorted(before) == list(range(len(before))) for before in counts.values())


def test_no_items_need_no_worker() -> None:
    assert list(map_processes(_refuse, [], 2)) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_a_worker_comes_after_the_results_before_it(jobs: int) -> None:
    got = []
    with pytest.raises(UserError, match=r"^-1 is below 0$"):
        for value, *_ in map_processes(_Adder(), [1, 2, -1, 3], jobs):
            got.append(value)
    assert got == [1, 2] and not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_the_making_is_raised_here(jobs: int) -> None:
    with pytest.raises(UserError, match=r"^the bundle is damaged$"):
        list(map_processes(_refuse, [1, 2], jobs))
    assert not multiprocessing.active_children()


def test_a_dead_worker_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(UserError, match="worker processes died"):
        list(map_processes(_dying, [1, 2], 2))
    assert not multiprocessing.active_children()


def test_nobody_waits_for_work_that_is_not_wanted() -> None:
    started = time.monotonic()
    results = map_processes(_napper, [0, 60, 60], 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 30 and not multiprocessing.active_children()


def test_whoever_stops_listening_stops_the_workers() -> None:
    results = map_processes(_Adder(), range(1, 100), 2)
    assert next(results)[0] == 1
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def _send_workers(pipe: Connection) -> None:
    """Send the numbers of two workers that then have much left to do, and wait to be killed."""
    results = map_processes(_napper, [0, 0, *[1] * 100], 2)
    next(results)
    pipe.send([child.pid for child in multiprocessing.active_children()])
    time.sleep(60)


def test_workers_end_when_their_process_is_killed() -> None:
    """As `kill -9` and a machine short of memory do: nobody would end them later."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    starter = context.Process(target=_send_workers, args=(theirs,))
    starter.start()
    workers = ours.recv()
    assert len(workers) == 2
    starter.kill()
    starter.join()
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)
