"""One key at a time from a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator

_NAMES = {
    b"\x1b[C": "next",
    b"\x1b[B": "next",
    b"\x1bOC": "next",
    b" ": "next",
    b"\r": "next",
    b"\n": "next",
    b"l": "next",
    b"j": "next",
    b"\x1b[D": "back",
    b"\x1b[A": "back",
    b"\x1bOD": "back",
    b"\x7f": "back",
    b"h": "back",
    b"k": "back",
    b"\x1b[H": "first",
    b"\x1b[1~": "first",
    b"\x1bOH": "first",
    b"g": "first",
    b"\x1b[F": "last",
    b"\x1b[4~": "last",
    b"\x1bOF": "last",
    b"G": "last",
    b"\x1b[6~": "next episode",
    b"n": "next episode",
    b"]": "next episode",
    b"\x1b[5~": "episode before",
    b"p": "episode before",
    b"[": "episode before",
    b"q": "quit",
    b"\x1b": "quit",
    b"\x04": "quit",
    b"": "quit",
}
KEYS = "arrows: steps   home, end   n, p: episodes   q: quit"
"""What the keys are, for people."""


@contextlib.contextmanager
def raw_keys() -> Iterator[None]:
    """The terminal gives keys at once and does not show them; Ctrl-C stays what it is."""
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file)
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


def read_key(seconds: float | None = None) -> str | None:
    """What the next key asks for: "next", "back", "first", "last", "next episode", "episode before", "quit", or "" for
    a key that means nothing. None if none comes in so many seconds.
    """
    file = sys.stdin.fileno()
    if not select.select([file], [], [], seconds)[0]:
        return None
    key = os.read(file, 1)
    if key == b"\x1b":  # what follows at once belongs to it
        while len(key) < 8 and select.select([file], [], [], 0.05)[0]:
            key += os.read(file, 1)
            if (key[-1:].isalpha() and key != b"\x1bO") or key.endswith(b"~"):
                break
    return _NAMES.get(key, "")
