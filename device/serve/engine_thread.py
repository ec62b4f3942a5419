"""The one thread that owns the engine, and the bounded queue before it: TVM's engine is not re-entrant.

Work is an iterator; between two of its items a client may leave and the server may stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from duomem.device.serve.api_error import ApiError, failed
from duomem.device.serve.metrics import Metrics

Work = Callable[[], Generator[Any, None, None]]
"""Makes the iterator that is run on the engine's thread. What it yields is sent to the client, None is not."""
Result = TypeVar("Result")

_END = object()
_LONGEST_WAIT = 60


class Ticket:
    """A client's place in the queue, on its event loop."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.left = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Any] = asyncio.Queue()

    async def items(self) -> AsyncIterator[Any]:
        """What the work yields, as it comes. Raises what the work raised."""
        while (item := await self._items.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item

    def put(self, item: Any) -> None:
        """Send an item from any thread. A loop that is closed has no client left."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)


class EngineThread:
    """Runs work in the order it came. metrics: gets the queue's depth, the seconds at work and who left."""

    def __init__(self, most_waiting: int, metrics: Metrics) -> None:
        self._most_waiting = most_waiting
        self._metrics = metrics
        self._changed = threading.Condition()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._ahead: deque[Ticket] = deque()
        self._waiting: deque[Ticket] = deque()
        self._running: list[Ticket] = []
        self._stopped = False
        self._mean_seconds = 1.0
        self._lead = 0.0
        metrics.gauge("queue_depth", lambda: len(self._ahead) + len(self._waiting))
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Result]) -> Result:
        """Run `function` on the thread when no work runs, and wait for it. Raises what it raises."""
        future: Future[Result] = Future()
        with self._changed:
            self._calls.append((future, function))
            self._changed.notify()
        return future.result()

    def submit(self, work: Work, ahead: bool = False) -> Ticket:
        """Queue work for the client on this event loop. Raises ApiError, status 503, if the queue is full.

        ahead: of work that runs, too: between two of its items. For work that is short; it gets half of the time at
        most.
        """
        ticket = Ticket(work)
        with self._changed:
            if self._stopped:
                raise _stopping()
            waiting = len(self._ahead) + len(self._waiting)
            if waiting >= self._most_waiting:
                wait = min(_LONGEST_WAIT, max(1, round(self._mean_seconds * waiting / 2)))
                raise ApiError(503, f"{waiting} requests wait already: try later", code="queue_full", retry_after=wait)
            (self._ahead if ahead else self._waiting).append(ticket)
            self._changed.notify()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The ticket's client is gone or has all: work that waits is dropped, work that runs ends at its next item."""
        ticket.left.set()
        with self._changed:
            for queue in (self._ahead, self._waiting):
                if ticket in queue:
                    queue.remove(ticket)
                    self._metrics.add("cancelled_total")

    def stop(self) -> None:
        """Take no more work, drop what waits, and end what runs at its next item. Clients are told. Does not wait."""
        with self._changed:
            self._stopped = True
            for ticket in (*self._ahead, *self._waiting):
                ticket.put(_stopping())
            self._ahead.clear()
            self._waiting.clear()
            for ticket in self._running:
                ticket.left.set()
            self._changed.notify()

    def join(self) -> None:
        """Wait for the thread, which was stopped."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._ahead or self._waiting or self._stopped)
                if self._stopped and not self._calls:
                    return
                call = self._calls.popleft() if self._calls else None
            if call is not None:
                _answer(*call)
            elif self._waiting and (self._lead or not self._ahead):
                began = time.perf_counter()
                self._work_of(self._waiting)
                self._mean_seconds += (time.perf_counter() - began - self._mean_seconds) / 8
            else:
                self._work_of(self._ahead)
                self._lead = self._lead if self._waiting else 0.0

    def _work_of(self, queue: deque[Ticket]) -> None:
        """Run the first work of a queue, if there is any, and between its items what came ahead of it.

        What comes ahead gets half of the time at most: as long as it leads, the other work goes on.
        """
        with self._changed:
            if not queue:
                return
            ticket = queue.popleft()
            self._running.append(ticket)
        began = time.perf_counter()
        for _ in self._items(ticket):
            self._lead = max(0.0, self._lead + self._spent(began) * (1 if queue is self._ahead else -1))
            while queue is not self._ahead and self._ahead and not self._lead:
                self._work_of(self._ahead)
            began = time.perf_counter()
        self._spent(began)
        with self._changed:
            self._running.remove(ticket)

    def _spent(self, began: float) -> float:
        """Seconds of work since `began`, which are counted."""
        seconds = time.perf_counter() - began
        self._metrics.add("engine_seconds_total", seconds)
        return seconds

    def _items(self, ticket: Ticket) -> Iterator[None]:
        """Run work to its end, with a pause after each item, which is sent."""
        try:
            with contextlib.closing(ticket.work()) as items:
                for item in items:
                    if item is not None:
                        ticket.put(item)
                    if ticket.left.is_set():
                        self._metrics.add("cancelled_total")
                        raise _stopping()
                    yield
            ticket.put(_END)
        except ApiError as e:
            ticket.put(e)
        except BaseException as e:
            ticket.put(failed(e))


def _answer(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as e:
        future.set_exception(e)


def _stopping() -> ApiError:
    return ApiError(503, "the server stops", code="stopping", retry_after=5)
