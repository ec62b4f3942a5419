"""Running one function over many items on the CPUs of a Ray cluster: what `map_processes` does, on other machines.

An actor makes one worker and keeps it. What a dead actor had in hand goes to another one. Needs the extra `ray`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeVar

from duomem.core.cpu import usable_cores
from duomem.core.errors import UserError
from duomem.core.ray_worker import RayWorker, Setup, setup_of

Item = TypeVar("Item")
Result = TypeVar("Result")

FORMS = "auto, local, HOST:PORT or ray://HOST:PORT"
_ADDRESS = re.compile(r"(ray://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_CONNECT_SECONDS = 5
_MOST_DEATHS = 3
"""So many workers that die at one item are an error. After so many in a row that die as they start, no more start."""
_START_SECONDS = 300
"""How long to wait for a worker while there is none."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # for a port at which no cluster answers: 40 seconds each
}


def is_address(address: str) -> bool:
    """Whether this is one of FORMS."""
    found = _ADDRESS.fullmatch(address)
    return address in ("auto", "local") or (found is not None and 0 < int(found["port"]) < 1 << 16)


class RayPool:
    """A connection to a Ray cluster, for `map_processes` in place of a number of processes. Close it, or use `with`.

    address: "auto" for the cluster that this machine is part of, "local" for one of this machine's cores that ends with
    the pool, "HOST:PORT" of a head, or "ray://HOST:PORT" of a client server. jobs: most actors, one CPU each; None for
    all CPUs that the cluster has now.

    Every node needs the same duomem, and the files that are worked on under the same paths.

    Raises UserError where Ray is not installed, for another address, and where no cluster answers.
    """

    def __init__(self, address: str, jobs: int | None = None) -> None:
        if not is_address(address):
            raise UserError(f"--ray {address}: is no address of a Ray cluster: give {FORMS}")
        _check_reachable(address)
        self._ray = _import_ray()
        _connect(self._ray, address, jobs)
        self._jobs = jobs

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        self._ray.shutdown()

    @property
    def size(self) -> int:
        """Actors that work at once."""
        return self._jobs or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def map(self, make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
        """Yield worker(item) in the order of `items`; see map_processes.

        Raises what a worker or its making raises. UserError, naming the node, for a file that a node does not see and
        for another duomem there; and if three workers die at one item, or none can be started.
        """
        run = _Run(self._ray, setup_of(make_worker, items), items, min(self.size, len(items)))
        try:
            yield from run.results()
        except self._ray.exceptions.RayError as e:
            raise UserError(f"the Ray cluster failed: {_first_line(e)}: the same command goes on") from None
        finally:
            run.stop()


class _Run:
    """The actors of one `map`, what each has in hand, and results that wait for their turn."""

    def __init__(self, ray: ModuleType, setup: Setup, items: Sequence[Any], actors: int) -> None:
        self._ray, self._items = ray, items
        self._setup = ray.put(setup)
        self._waiting = deque(range(len(items)))
        self._deaths: Counter[int] = Counter()
        self._failed_starts = 0
        self._done: dict[int, Any] = {}
        self._starting: dict[Any, Any] = {}  # reference: the actor that starts
        self._working: dict[Any, tuple[Any, int]] = {}  # reference: who works, on which item
        self._hands: dict[Any, list[Any]] = {}  # actor that is ready: its references, in order
        for _ in range(actors):
            self._start()

    def results(self) -> Iterator[Any]:
        for index in range(len(self._items)):
            while index not in self._done:
                self._hand_out()
                self._step()
            result = self._done.pop(index)
            if isinstance(result, _Failed):
                raise result.error
            yield result

    def stop(self) -> None:
        """End every actor."""
        for actor in [*self._starting.values(), *self._hands]:
            self._ray.kill(actor)

    def _start(self) -> None:
        actor = self._ray.remote(RayWorker).options(num_cpus=1, scheduling_strategy="SPREAD", max_restarts=0).remote()
        self._starting[actor.start.remote(self._setup)] = actor

    def _hand_out(self) -> None:
        """One item each, and while there are many a second, so that no actor waits for this process."""
        for depth in (1, 2):
            for actor, hand in self._hands.items():
                if len(hand) < depth and len(self._waiting) > (len(self._hands) if depth > 1 else 0):
                    index = self._waiting.popleft()
                    reference = actor.work.remote(self._items[index])
                    hand.append(reference)
                    self._working[reference] = actor, index

    def _step(self) -> None:
        """Wait until an actor is ready, has a result, or has died."""
        limit = None if self._working else _START_SECONDS
        ready, _ = self._ray.wait([*self._working, *self._starting], num_returns=1, timeout=limit)
        if not ready:
            raise UserError(
                f"no node of the Ray cluster started a worker within {_START_SECONDS} seconds: `ray status` tells "
                "which CPUs are free"
            )
        errors = self._ray.exceptions
        reference = ready[0]
        try:
            result = self._ray.get(reference)
        except errors.RayTaskError as e:
            self._fail(reference, e)
        except errors.RayError as e:
            self._bury(reference, e)
        else:
            self._keep(reference, result)

    def _keep(self, reference: Any, result: Any) -> None:
        if reference in self._starting:
            self._hands[self._starting.pop(reference)] = []
            self._failed_starts = 0
            return
        actor, index = self._working.pop(reference)
        self._hands[actor].remove(reference)
        self._done[index] = result

    def _fail(self, reference: Any, error: Any) -> None:
        """The worker's own error: of a start at once, of an item when it is its turn."""
        cause = error.cause if isinstance(error.cause, Exception) else error
        if reference not in self._starting:
            self._keep(reference, _Failed(cause))
        elif "No module named" in str(error) and not isinstance(cause, UserError):
            raise UserError(
                f"a node of the Ray cluster cannot load this work ({_last_line(error)}): install the same duomem on "
                "every node"
            )
        else:
            raise cause

    def _bury(self, reference: Any, error: Exception) -> None:
        """Give back what a dead actor had in hand, and ask for another. It died at the first of these."""
        if reference in self._starting:
            self._ray.kill(self._starting.pop(reference))
            self._failed_starts += 1
            if not self._hands and not self._starting and self._failed_starts >= _MOST_DEATHS:
                raise UserError(f"{self._failed_starts} workers on Ray died as they started: {_first_line(error)}")
        else:
            actor, _ = self._working[reference]
            lost = [self._working.pop(other)[1] for other in self._hands.pop(actor)]
            self._ray.kill(actor)
            self._waiting.extendleft(reversed(lost))
            self._deaths[lost[0]] += 1
            if self._deaths[lost[0]] >= _MOST_DEATHS:
                raise UserError(
                    f"{_MOST_DEATHS} workers on Ray died at {self._items[lost[0]]}, of memory or of a library not made "
                    f"for a node's CPU: {_first_line(error)}"
                )
        if self._failed_starts < _MOST_DEATHS:
            self._start()


class _Failed:
    """In place of a result: the error to raise when it is its turn."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _check_reachable(address: str) -> None:
    """Ray waits for minutes at an address where nobody listens. Raises UserError at once."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), _CONNECT_SECONDS).close()
    except OSError as e:
        raise UserError(
            f"--ray {address}: cannot connect ({e.strerror or e}): give the head's address, as `ray start` tells"
        ) from None


def _import_ray() -> ModuleType:
    os.environ |= _QUIET
    try:
        import ray
        import ray.exceptions
    except ImportError as e:
        raise UserError(f"--ray needs the extra `ray` ({e}): pip install 'duomem[ray]'") from None
    return ray


def _connect(ray: ModuleType, address: str, jobs: int | None) -> None:
    """Raises UserError if no cluster answers."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"num_cpus": jobs or usable_cores(), "include_dashboard": False}
    try:
        with _quietly():
            ray.init(address, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, ray.exceptions.RayError) as e:
        told = _first_line(e).partition(". ")[0]
        if "InvalidAuthToken" in str(e.__cause__):
            raise UserError(
                f"--ray {address}: {told}: it wants its token: have RAY_AUTH_MODE=token in the environment, and the "
                "head's ~/.ray/auth_token here"
            ) from None
        raise UserError(f"--ray {address}: {told}: start a cluster with `ray start`, or give local") from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """While Ray connects, drop what its libraries write to the error stream before their log's level is set, and start
    no thread that prints a dead node's last words to stdout: Ray has no option for either.
    """
    worker: Any = sys.modules["ray._private.worker"]
    listen, worker.listen_error_messages = worker.listen_error_messages, lambda *_: None
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    sys.stderr.flush()
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        worker.listen_error_messages = listen
        os.dup2(kept, 2)
        os.close(kept)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
