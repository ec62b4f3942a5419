"""What deploying needs of a connection: run a shell script on the device, append to a file, fetch a file.

`ssh` and `adb` keep it. A script either ran to its end, or a ConnectionLost says why that is not known.
"""

from __future__ import annotations

import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import DeployError
from duomem.core.files import atomic_open
from duomem.core.process import TOO_MUCH, Done, run

_STATUS = re.compile(r"[0-9]{1,3}")
TIMEOUT = 600.0
"""Seconds one command on the device may take."""
COPY_TIMEOUT = 3600.0
"""Seconds one piece of a file may take, on a slow connection."""


class ConnectionLost(DeployError):
    """The device cannot be reached, or the connection ended before an answer."""


@dataclass(frozen=True)
class Result:
    """Exit status of a script, and what it printed on both streams."""

    status: int
    output: str


class Transport(ABC):
    """A connection to one device. `name` is for messages."""

    name: str

    def run(self, script: str, timeout: float = TIMEOUT) -> Result:
        """Run a POSIX sh script on the device, in the folder it logs in to, with empty standard input.

        A script cut on its way does nothing: it is one function, called by the last line. Raises
        ConnectionLost if it is not known to have ended, DeployError if the device answers without end.
        """
        mark = f"duomem-{secrets.token_hex(8)}"
        whole = f'main() {{\n{script}\n}}\n(main) </dev/null 2>&1; status=$?; echo; echo "{mark} $status"\n'
        done = self._shell(whole.encode(), timeout)
        if done.status == TOO_MUCH:
            raise DeployError(f"{self.name}: {done.error}: no answer is that long, look at what the device runs as sh")
        before, found, status = done.output.replace("\r\n", "\n").rpartition(f"\n{mark} ")
        if not found or not _STATUS.fullmatch(status.strip()):
            raise ConnectionLost(self._explain(done.error))
        return Result(int(status), before)

    @abstractmethod
    def _shell(self, script: bytes, timeout: float) -> Done:
        """Feed `script` to a sh on the device. The error stream is what the connection complained of."""

    @abstractmethod
    def _explain(self, complaint: str) -> str:
        """One line for the user from what the connection printed on its error stream."""

    @abstractmethod
    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        """Append `size` bytes of the local file `source` from `offset` on to `path` on the device.

        After an error a part of them may be there. Raises ConnectionLost, and DeployError if the device
        cannot write.
        """

    @abstractmethod
    def fetch(self, path: str, target: Path) -> None:
        """Copy the device's file `path` to `target`, which is whole or as it was. Raises as `append`."""

    def close(self) -> None:  # noqa: B027 - not every connection has an end
        """End the connection. Closing twice is allowed."""


def fetch_to(target: Path, command: Sequence[str], timeout: float) -> Done:
    """Run a local command with its output going to `target`, which is replaced only if it exits with 0."""
    try:
        with atomic_open(target) as f:
            done = run(command, timeout, sink=f)
            if done.status:
                raise _FailedError(done)
    except _FailedError as e:
        return e.done
    return done


class _FailedError(Exception):
    """Leaves atomic_open without writing."""

    def __init__(self, done: Done) -> None:
        super().__init__(done)
        self.done = done


def read_piece(source: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a local file from `offset` on, or those there are."""
    with open(source, "rb") as f:
        f.seek(offset)
        return f.read(size)
