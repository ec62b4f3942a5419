"""Running a step of compiling in a process of its own, with a time limit.

One that crashes, hangs or fails becomes one line that says so, and nothing of it goes on running.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from duomem.core.errors import CompileError, UserError
from duomem.core.files import write_json
from duomem.core.progress import progress

_LOG_BYTES = 4096


class Process:
    """A running `command`, whose output goes to `log`; leaving the `with` ends its whole process group.

    time_limit: seconds from the start. what: the subject of the errors ("the TVM compiler, for host,").
    environment: variables set on top of this process's. Raises CompileError if it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        time_limit: float,
        what: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log, self._time_limit, self._what = log, time_limit, what
        self._deadline = time.monotonic() + time_limit
        inherited = {name: value for name, value in os.environ.items() if name != "TVM_USE_RUNTIME_LIB"}
        try:
            with open(log, "wb") as out:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env={**inherited, **(environment or {})},
                )
        except OSError as e:
            raise CompileError(f"{what} cannot be started: {e.filename or command[0]}: {e.strerror or e}") from None

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self, title: str) -> None:
        """Wait for its successful end under a progress bar. Raises CompileError, with the last line in `log`, if it
        is ended by a signal, exits with anything but 0, or runs out of time.
        """
        code = None
        with progress(None, title, unit="s") as bar:
            while code is None and (rest := self._deadline - time.monotonic()) > 0:
                try:
                    code = self._process.wait(timeout=min(1.0, rest))
                except subprocess.TimeoutExpired:
                    bar.update()
        if code is None:
            code = self._process.poll()
        if code is None:
            self.stop()
            raise CompileError(
                f"{self._what} took more than {self._time_limit:g} s and was stopped: {self._last_line()}"
            )
        if code < 0:
            raise CompileError(f"{self._what} crashed ({signal.Signals(-code).name}): {self._last_line()}")
        if code:
            raise CompileError(f"{self._what} failed (exit {code}): {self._last_line()}")

    def stop(self) -> None:
        """End it, and every process it has started. Nothing happens if it has ended."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_line(self) -> str:
        """The last line in the log, which is the exception's after a Python traceback."""
        text = self._log.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else "it wrote nothing"


def run_process(
    command: Sequence[str],
    log: Path,
    time_limit: float,
    what: str,
    title: str,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run `command` to its successful end. Arguments and errors are those of `Process` and its `wait`."""
    with Process(command, log, time_limit, what, environment) as process:
        process.wait(title)


def run_job(measure: Callable[[dict[str, Any], Path], dict[str, Any]]) -> None:
    """What such a process does: `measure`(job, its folder) of the JOB.json it was given, into JOB.result.json.

    A UserError ends it with that line as the last of its log.
    """
    path = Path(sys.argv[1])
    try:
        result = measure(json.loads(path.read_text()), path.parent)
    except UserError as e:
        sys.exit(str(e))
    write_json(path.with_suffix(".result.json"), result)
