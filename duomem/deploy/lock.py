"""One deploy at a time to a device's folder: a claim in its lock/, and when another's claim counts as dead."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from duomem.core.errors import DeployError, UserError, printable
from duomem.core.reading import digest_of
from duomem.deploy.device_side import Claim, DeviceSide
from duomem.deploy.transport import Transport

STALE = 900
"""Seconds without a sign of life after which another machine's deploy counts as dead."""
_TRIES = 6
_YOUNG = 3
"""Seconds: a claim this new may give way, as of two that began at once both do."""

_active: set[str] = set()
"""Claims of deploys that this process runs now: one that it does not run is left over from a lost connection."""


@contextlib.contextmanager
def locked(transport: Transport, folder: str) -> Iterator[DeviceSide]:
    """The device's folder under this deploy's lock. DeployError, naming the holder, if another has it."""
    claim = f"{_machine()}-{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(8)}"
    device = DeviceSide(transport, folder, claim)
    _active.add(claim)
    try:
        _acquire(transport, folder, device)
        try:
            yield device
        finally:
            with contextlib.suppress(UserError):  # a dead connection: the claim is found dead next time
                device.release()
    finally:
        _active.discard(claim)


def _acquire(transport: Transport, folder: str, device: DeviceSide) -> None:
    owner = printable(f"{_user()}@{socket.gethostname()}")
    stale: list[str] = []
    for attempt in range(_TRIES):
        others = device.acquire(owner, stale)
        if not others:
            return
        alive = [other for other in others if other.name and not _dead(other)]
        if alive and (attempt == _TRIES - 1 or alive[0].age > _YOUNG):
            raise DeployError(
                f"{transport.name}:{folder}: {alive[0].owner} is deploying to it, last seen "
                f"{max(0, alive[0].age)} s ago: wait for it; if it is dead, it counts as such after "
                f"{STALE} s, or remove {folder}/lock/{alive[0].name} on the device"
            )
        stale = [other.name for other in others if other.name and other not in alive]
        if alive or attempt:
            time.sleep(random.uniform(0.1, 0.5) * (attempt + 1))  # of two that began at once, let one be first
    raise DeployError(f"{transport.name}:{folder}: others begin to deploy to it at the same time: try again")


def _dead(claim: Claim) -> bool:
    """Whether a claim's deploy is known to have ended: by its process if it is of this machine, else by its age."""
    machine, pid, started, _ = claim.name.split("-")
    if machine != _machine():
        return claim.age > STALE
    if int(pid) == os.getpid() and started == str(_started(os.getpid())):
        return claim.name not in _active
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return started != str(_started(int(pid))) or claim.age > STALE


def _machine() -> str:
    """What tells this machine, as its processes see it, from others: 16 hex digits."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return digest_of(parts)[:16]


def _started(pid: int) -> int:
    """When a process started, in the system's ticks; 0 where that is not known."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "someone"
