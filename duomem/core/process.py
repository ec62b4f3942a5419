"""Running commands that may be missing, broken, stuck or crash: what they said, never an exception.

What the doctor asks of this machine goes through here, in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT = 20.0
"""Seconds an external command may take."""


@dataclass(frozen=True)
class Done:
    """An external command's end. status: 127 if it could not be started, 124 on a timeout."""

    status: int
    output: str
    error: str

    @property
    def first_line(self) -> str:
        return next(iter(said_lines(self.output) or said_lines(self.error)), "says nothing")

    @property
    def last_line(self) -> str:
        said = said_lines(self.output)
        if self.status:
            said = said_lines(self.error) or said
        return next(reversed(said), f"ended with exit status {self.status}")


def said_lines(text: str) -> list[str]:
    """Its lines that say something, safe to print."""
    shown = ("".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines())
    return [line[:300] for line in shown if line]


def run_command(command: list[str], timeout: float | None = None, environment: Mapping[str, str] | None = None) -> Done:
    """Run a command that may be missing, broken or stuck; never raises. timeout: seconds, TIMEOUT by default."""
    timeout = TIMEOUT if timeout is None else timeout
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        return Done(124, "", f"no answer in {timeout:.0f} s")
    except OSError as e:
        return Done(127, "", e.strerror or str(e))
    error = done.stderr.decode("utf-8", "replace")
    if done.returncode < 0:
        error += f"\nended by signal {-done.returncode}"
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), error)


def ask_python(program: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object that a Python program prints as its last line; {"error": ...} if it does not."""
    done = run_command([sys.executable, "-c", program], environment=environment)
    try:
        value = json.loads(said_lines(done.output)[-1]) if not done.status else None
    except (ValueError, IndexError):
        value = None
    return value if isinstance(value, dict) else {"error": done.last_line}
