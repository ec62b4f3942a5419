"""Work on several processes comes back in order; errors, dead workers and Ctrl-C end it without a hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from duomem.core.errors import UserError
from duomem.core.parallel import map_processes

_offset = 0


def _set_up(offset: int) -> None:
    global _offset
    _offset = offset


def _refuse() -> None:
    raise UserError("the bundle is damaged")


def _add(item: int) -> tuple[int, int]:
    time.sleep(0.05 if item == 0 else 0)
    if item < 0:
        raise UserError(f"{item} is below 0")
    return item + _offset, os.getpid()


def _nap(seconds: int) -> int:
    time.sleep(seconds)
    return seconds


def _die(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_order_and_processes(jobs: int) -> None:
    results = list(map_processes(_add, range(6), jobs, _set_up, (10,)))
    assert [value for value, _ in results] == [10, 11, 12, 13, 14, 15]
    assert (os.getpid() in {pid for _, pid in results}) == (jobs == 1)


def test_no_items_need_no_setup() -> None:
    assert list(map_processes(_add, [], 2, _refuse)) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_a_worker_comes_after_the_results_before_it(jobs: int) -> None:
    got = []
    with pytest.raises(UserError, match=r"^-1 is below 0$"):
        for value, _ in map_processes(_add, [1, 2, -1, 3], jobs, _set_up, (0,)):
            got.append(value)
    assert got == [1, 2] and not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_the_setup_is_raised_here(jobs: int) -> None:
    with pytest.raises(UserError, match=r"^the bundle is damaged$"):
        list(map_processes(_add, [1, 2], jobs, _refuse))
    assert not multiprocessing.active_children()


def test_a_dead_worker_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(UserError, match="worker processes died"):
        list(map_processes(_die, [1, 2], 2, _set_up, (0,)))
    assert not multiprocessing.active_children()


def test_nobody_waits_for_work_that_is_not_wanted() -> None:
    started = time.monotonic()
    results = map_processes(_nap, [0, 60, 60], 2, _set_up, (0,))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 30 and not multiprocessing.active_children()


def test_whoever_stops_listening_stops_the_workers() -> None:
    results = map_processes(_add, range(1, 100), 2, _set_up, (0,))
    assert next(results)[0] == 1
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
