"""Running other programs: each in a process group of its own, with a time limit, ended with everything it started.

`run` is for what may be missing, broken or stuck, and never raises; `Process` for what runs beside this program.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from duomem.core.errors import UserError, printable
from duomem.core.progress import progress

TIMEOUT = 20.0
"""Seconds an external command may take unless told otherwise."""
TIMED_OUT, TOO_MUCH, NOT_STARTED = 124, 125, 127
"""Exit statuses of `run` for a command that was stopped or could not be started, as a shell gives them."""
_MOST_OUTPUT = 16 << 20
"""Bytes that a command of `run` may write to its streams before it is stopped: what it says is read whole."""
_LOOK = 0.1
"""Seconds between two looks at how many these are."""
_GRACE = 2.0
"""Seconds between asking a process group to end and killing it."""
_TAIL = 1 << 16
"""Bytes at the end of an error stream that are looked at."""


def said_lines(text: str) -> list[str]:
    """The lines of `text` that say something, safe to print, at most 300 characters each."""
    shown = (printable(line, " ").strip() for line in text.splitlines())
    return [line[:300] for line in shown if line]


def last_line(text: str, silent: str = "it says nothing") -> str:
    """The last line of `text` that says something, which is the exception's after a Python traceback."""
    return next(reversed(said_lines(text)), silent)


def ending(status: int) -> str:
    """An exit status in words: "exit 3", or the name of the signal, "SIGSEGV"."""
    if status >= 0:
        return f"exit {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


class Process:
    """A running command in a process group of its own. Leaving the `with` ends the whole group.

    Its streams go to temporary files, so that nothing it starts in the background can hold this program up.
    """

    def __init__(
        self,
        command: Sequence[str],
        timeout: float = math.inf,
        environment: Mapping[str, str] | None = None,
        source: bytes = b"",
        sink: IO[bytes] | None = None,
        interactive: bool = False,
    ) -> None:
        """Start `command`. Raises OSError if it cannot be started.

        timeout: seconds from now. environment: variables set on top of this process's. source: its standard input.
        sink: an open file for its standard output, instead of a temporary one. interactive: the command is talked to
        with `ask` instead.
        """
        self._timeout, self._deadline = timeout, time.monotonic() + timeout
        with contextlib.ExitStack() as files:
            self._error = files.enter_context(tempfile.TemporaryFile())
            self._output = sink or files.enter_context(tempfile.TemporaryFile())
            given: IO[bytes] | int = subprocess.DEVNULL
            if source:
                given = files.enter_context(tempfile.TemporaryFile())
                given.write(source)
                given.seek(0)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if interactive else given,
                stdout=subprocess.PIPE if interactive else self._output,
                stderr=self._error,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
            self._files = files.pop_all()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._files.close()

    def wait(self, tick: Callable[[], object] = lambda: None, interval: float = 1.0) -> int | None:
        """Its exit status, minus a signal's number if one ended it; None if time ran out, and it was stopped.

        tick: called about every `interval` seconds meanwhile.
        """
        while (rest := self._deadline - time.monotonic()) > 0:
            try:
                return self._process.wait(min(interval, rest))
            except subprocess.TimeoutExpired:
                tick()
        status = self._process.poll()
        if status is None:
            self.stop()
        return status

    def succeed(self, what: str, title: str, error: type[UserError]) -> None:
        """Wait for its successful end under a progress bar called `title`.

        Raises `error`, with `what` as its subject and the last line the command said, if the command is ended by a
        signal, exits with anything but 0, or runs out of time.
        """
        with progress(None, title):
            status = self.wait()
        if status == 0:
            return
        if status is None:
            how = f"took more than {self._timeout:g} s and was stopped"
        else:
            how = f"crashed ({ending(status)})" if status < 0 else f"failed ({ending(status)})"
        raise error(f"{what} {how}: {self.last_words()}")

    def stop(self) -> None:
        """End it, and every process it has started. Nothing happens if it has ended."""
        if self._process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)

    def ask(self, line: str) -> str:
        """Send a line to an interactive command and return the line it answers; "" if it has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
            return self._process.stdout.readline().decode("utf-8", "replace")
        return ""

    def finish(self, seconds: float) -> None:
        """Close an interactive command's input, and give it `seconds` to end by itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def check_size(self, sink: IO[bytes] | None) -> None:
        """Raises _TooMuchError if it has written too much to its streams, other than to `sink`."""
        streams = (self._error,) if sink is not None else (self._error, self._output)
        if any(os.fstat(stream.fileno()).st_size > _MOST_OUTPUT for stream in streams):
            raise _TooMuchError

    def output(self) -> str:
        """What it has written to its standard output so far, unless that goes to a sink."""
        self._output.seek(0)
        return self._output.read().decode("utf-8", "replace")

    def error(self) -> str:
        """What it has written to its error stream so far: the last 64 KiB."""
        self._error.seek(max(0, self._error.seek(0, os.SEEK_END) - _TAIL))
        return self._error.read().decode("utf-8", "replace")

    def last_words(self) -> str:
        """The last line on its error stream, or else of its output."""
        return next(reversed(said_lines(self.error()) or said_lines(self.output())), "it wrote nothing")


class _TooMuchError(Exception):
    """A command writes more than what is read of it."""


@dataclass(frozen=True)
class Done:
    """An external command's end. error: its error stream, and how it ended if not by itself."""

    status: int
    output: str
    error: str

    @property
    def first_line(self) -> str:
        return next(iter(said_lines(self.output) or said_lines(self.error)), "says nothing")

    @property
    def last_line(self) -> str:
        """The last line it said; of a failed command the reason."""
        said = said_lines(self.output)
        if self.status:
            said = said_lines(self.error) or said
        return next(reversed(said), f"ended with exit status {self.status}")


def run(
    command: Sequence[str],
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    source: bytes = b"",
    sink: IO[bytes] | None = None,
) -> Done:
    """Run a command that may be missing, broken or stuck, to its end. Raises nothing of its own.

    timeout: seconds, TIMEOUT by default. The other arguments are those of `Process`. The status is TIMED_OUT, TOO_MUCH
    or NOT_STARTED for a command that was stopped, for its time or its output, or could not be started.
    """
    timeout = TIMEOUT if timeout is None else timeout
    try:
        with Process(command, timeout, environment, source, sink) as process:
            status = process.wait(lambda: process.check_size(sink), _LOOK)
            process.check_size(sink)
            error, output = process.error(), "" if sink is not None else process.output()
    except _TooMuchError:
        return Done(TOO_MUCH, "", f"says more than {_MOST_OUTPUT >> 20} MiB and was stopped")
    except OSError as e:
        return Done(NOT_STARTED, "", e.strerror or str(e))
    if status is None:
        return Done(TIMED_OUT, output, f"{error}\nno answer in {timeout:.0f} s")
    return Done(status, output, f"{error}\nended by signal {-status}" if status < 0 else error)


def start_step(
    command: Sequence[str],
    timeout: float,
    what: str,
    error: type[UserError],
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a command as a `Process`. Raises `error`, with `what` as its subject, if it cannot be started."""
    try:
        return Process(command, timeout, environment)
    except OSError as e:
        raise error(f"{what} cannot be started: {e.filename or command[0]}: {e.strerror or e}") from None


def run_step(
    command: Sequence[str],
    timeout: float,
    what: str,
    title: str,
    error: type[UserError],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its successful end under a progress bar.

    The arguments are those of `start_step` and `Process.succeed`. Raises `error` as they do.
    """
    with start_step(command, timeout, what, error, environment) as process:
        process.succeed(what, title, error)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this Python as a program."""
    return [sys.executable, "-m", module, *arguments]


def ask_module(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object that the program `module` prints as its last line; {"error": ...} if it does not."""
    done = run(python_module(module, *arguments), environment=environment)
    try:
        value = json.loads(done.output.strip().splitlines()[-1]) if not done.status else None
    except (ValueError, IndexError):
        value = None
    return value if isinstance(value, dict) else {"error": done.last_line}
