"""What deploying needs of a connection: run a shell script on the device, append to a file, fetch a file.

`ssh` and `adb` keep it. A script either ran to its end, or a ConnectionLost says why that is not known.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from duomem.core.errors import DeployError
from duomem.core.files import atomic_open

TIMEOUT = 600.0
"""Seconds one command on the device may take."""
_COPY = 1 << 18
_WAIT_AFTER_INPUT = 60.0


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
        ConnectionLost if it is not known to have ended.
        """
        mark = f"duomem-{secrets.token_hex(8)}"
        whole = f'main() {{\n{script}\n}}\n(main) </dev/null 2>&1; status=$?; echo; echo "{mark} $status"\n'
        output, complaint = self._shell(whole.encode(), timeout)
        text = output.decode("utf-8", "replace").replace("\r\n", "\n")
        before, found, status = text.rpartition(f"\n{mark} ")
        if not found or not status.strip().isdecimal():
            raise ConnectionLost(self._explain(complaint))
        return Result(int(status), before)

    @abstractmethod
    def _shell(self, script: bytes, timeout: float) -> tuple[bytes, str]:
        """Feed `script` to a sh on the device; its standard output, and what the connection complained of."""

    @abstractmethod
    def _explain(self, complaint: str) -> str:
        """One line for the user from what the connection printed on its error stream."""

    @abstractmethod
    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        """Append `size` bytes of the local file `source` from `offset` on to `path` on the device.

        After an error a part of them may be there. Raises ConnectionLost, and UserError if the device
        cannot write.
        """

    @abstractmethod
    def fetch(self, path: str, target: Path) -> None:
        """Copy the device's file `path` to `target`, which is whole or as it was. Raises as `append`."""

    def close(self) -> None:  # noqa: B027 - not every connection has an end
        """End the connection. Closing twice is allowed."""


def call(
    command: Sequence[str], timeout: float, source: bytes | tuple[IO[bytes], int] = b"", sink: IO[bytes] | None = None
) -> tuple[int, bytes, str]:
    """Run a local command: (exit status, standard output, error stream). 124 on a timeout.

    source: its standard input, bytes or (open file, how many of its bytes). sink: a file for the output
    instead. The command and all it started are ended by an exception, Ctrl-C included. A background
    process that keeps the streams open is not waited for. Raises OSError if it cannot be started.
    """
    with contextlib.ExitStack() as stack:
        out = sink or stack.enter_context(tempfile.TemporaryFile())
        err = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True)
        try:
            with contextlib.suppress(BrokenPipeError):
                _feed(process, source)
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            status = 124
        except BaseException:
            _end(process)
            raise
        err.seek(0)
        complaint = err.read(1 << 16).decode("utf-8", "replace")
        if status == 124:
            complaint += f"\nno answer in {timeout:.0f} s"
        if sink is not None:
            return status, b"", complaint
        out.seek(0)
        return status, out.read(), complaint


def _feed(process: subprocess.Popen[bytes], source: bytes | tuple[IO[bytes], int]) -> None:
    assert process.stdin is not None
    with process.stdin:
        if isinstance(source, bytes):
            process.stdin.write(source)
            return
        file, left = source
        while left and (piece := file.read(min(left, _COPY))):
            process.stdin.write(piece)
            left -= len(piece)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command's whole process group, which is its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
            return


def fetch_to(target: Path, command: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run `command` with its output going to `target`, which is replaced only if it exits with 0."""
    try:
        with atomic_open(target) as f:
            status, _, complaint = call(command, timeout, sink=f)
            if status:
                raise _FailedError(status, complaint)
    except _FailedError as e:
        return e.args
    return 0, complaint


class _FailedError(Exception):
    """Leaves atomic_open without writing."""


def last_line(text: str) -> str:
    """The last line of `text` that says something, for an error message."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
