"""Building a target's library in a process of its own, with a time limit.

A compiler that crashes, hangs or fails becomes one line that says so; nothing half-built is left.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import read_json, write_json
from duomem.base.progress import progress
from duomem.compile.checkpoint import Checkpoint
from duomem.compile.target import Target

TIME_LIMIT = 1800.0
ALL_CHUNK = 64
_WORKER = (sys.executable, "-m", "duomem.compile.worker")
_LOG_BYTES = 4096


def build_library(
    checkpoint: Checkpoint,
    scheme: str,
    target: Target,
    prefill_chunk: int,
    library: Path,
    time_limit: float = TIME_LIMIT,
    worker: tuple[str, ...] = _WORKER,
) -> dict[str, Any]:
    """Compile the model's decoder for `target` to `library`; returns what the compiler chose ({"mcpu"}).

    prefill_chunk: most tokens a prefill call takes. time_limit: seconds. Raises UserError if there is no
    C compiler to link with, and when the worker crashes, fails or runs out of time.
    """
    if not any(shutil.which(name) for name in ("g++", "gcc", "clang++", "clang", "c++", "cc")):
        raise UserError("no C compiler found to link the library with: install gcc or clang")
    with tempfile.TemporaryDirectory(prefix="duomem-build-") as work:
        job = Path(work) / "job.json"
        write_json(
            job,
            {
                "architecture": checkpoint.architecture,
                "config": checkpoint.config.to_json(),
                "scheme": scheme,
                "llvm": target.llvm,
                "prefill_chunk": prefill_chunk,
                "all_chunk": min(ALL_CHUNK, prefill_chunk),
                "library": str(library.resolve()),
            },
        )
        log = Path(work) / "log.txt"
        code = _run([*worker, str(job)], log, time_limit)
        if code is None:
            raise UserError(
                f"compiling for {target.name} took more than {time_limit:.0f} s and was stopped: {_tail(log)}"
            )
        if code < 0:
            name = signal.Signals(-code).name
            raise UserError(f"the TVM compiler crashed ({name}) compiling for {target.name}: {_tail(log)}")
        if code or not library.is_file():
            raise UserError(
                f"the TVM compiler failed (exit {code}) compiling for {target.name}: {_tail(log)}"
            )
        return read_json(Path(work) / "result.json", "compiler result")


def _run(command: list[str], log: Path, time_limit: float) -> int | None:
    """Exit code of `command`, None if it ran out of time. Its process group never outlives the call."""
    env = {name: value for name, value in os.environ.items() if name != "TVM_USE_RUNTIME_LIB"}
    deadline = time.monotonic() + time_limit
    with open(log, "wb") as out, progress(None, "library", unit="s") as bar:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
        )
        try:
            while (rest := deadline - time.monotonic()) > 0:
                try:
                    return process.wait(timeout=min(1.0, rest))
                except subprocess.TimeoutExpired:
                    bar.update()
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _tail(log: Path) -> str:
    """The last line the worker wrote, which is the exception's in a Python traceback."""
    text = log.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
