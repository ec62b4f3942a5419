"""What a long stage says: a bar on a terminal, a line a minute in a log, nothing where it is over soon."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from duomem.core import progress as module
from duomem.core.progress import progress


class _Clock:
    """A clock that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    return _Clock(monkeypatch)


def _turn(clock: _Clock, bar: module.Bar, seconds: int, n: float = 1) -> None:
    for _ in range(seconds):
        clock.now += 1
        bar.update(n)


def test_a_line_has_count_rate_and_time_left(clock: _Clock) -> None:
    bar = progress(None, "teaching", 80, "games", 20)
    assert bar.line() == "teaching: 20/80 games, 0:00"
    _turn(clock, bar, 10, 2)
    bar.note("11 won")
    assert bar.line() == "teaching: 40/80 games, 2.0/s, 0:20 left, 11 won"
    clock.now += 5
    assert "0:15 left" in bar.line()
    _turn(clock, bar, 20, 2)
    assert bar.line() == "teaching: 80/80 games, 1.7/s, in 0:35, 11 won"


def test_the_rate_is_that_of_late(clock: _Clock) -> None:
    """The first step, which compiles, tells nothing of the others."""
    bar = progress(None, "training", 1000, "steps")
    clock.now += 120
    bar.update()
    _turn(clock, bar, 70)
    assert bar.line() == "training: 71/1000 steps, 1.0/s, 15:29 left"


@pytest.mark.parametrize(
    ("total", "unit", "n", "line"),
    [
        (None, "", 0, "x: 1:40"),
        (None, "games", 200, "x: 200 games, 2.0/s, 1:40"),
        (5e6, "B", 4e6, "x: 4.0 MB of 5.0 MB, 40.0 kB/s, 0:25 left"),
        (100, "steps", 2, "x: 2/100 steps, 1.2 a minute, 1:21:40 left"),
        (50000, "games", 20000, "x: 20000/50000 games, 200/s, 2:30 left"),
    ],
)
def test_units(clock: _Clock, total: float | None, unit: str, n: float, line: str) -> None:
    bar = progress(None, "x", total, unit)
    clock.now += 100
    if n:
        bar.update(n)
    assert bar.line() == line


def test_it_counts_its_items(clock: _Clock) -> None:
    bar = progress([5, 6], "layers", unit="layers")
    assert list(bar) == [5, 6] and bar.line() == "layers: 2/2 layers, 0:00"


def test_what_it_says_is_printable() -> None:
    bar = progress(None, "pack\x1b[2J", 2)
    bar.note("\u202ewon\n")
    assert "\x1b" not in bar.line() and bar.line().isprintable()


def test_a_short_stage_writes_nothing_into_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in progress(range(3), "short"):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_log_gets_lines(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one early, others later though nothing was done meanwhile, and one at the end."""
    monkeypatch.setattr(module, "FIRST_LINE", 0.05)
    monkeypatch.setattr(module, "EVERY", 0.1)
    with progress(None, "training", 8, "steps") as bar:
        time.sleep(0.4)
        bar.update(8)
    lines = capfd.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 6 and lines[0].startswith("training: 0/8 steps, 0:00")
    assert lines[-1].startswith("training: 8/8 steps, ") and " in 0:00" in lines[-1]
    time.sleep(0.15)
    assert capfd.readouterr() == ("", "")


def test_of_several_processes_the_first_tells(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_LINE", 0.01)
    monkeypatch.setenv("RANK", "1")
    with progress(None, "training"):
        time.sleep(0.05)
    assert capfd.readouterr().err == ""


def _on_a_terminal(code: str, **environment: str) -> str:
    """What a program writes to its error stream, a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
    ):
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # Linux ends a terminal so
            pass
    os.close(ours)
    return said.decode()


_NESTED = """
from duomem.core.progress import progress
for _ in progress(range(2), "outer", unit="games"):
    with progress(None, "pack [red]", 2) as bar:
        bar.update(2)
"""


def test_a_terminal_gets_bars_also_one_in_another() -> None:
    said = _on_a_terminal(_NESTED)
    assert "outer" in said and "2/2 games" in said and "pack [red]" in said and "━" in said


def test_a_terminal_that_cannot_draw_gets_no_bar() -> None:
    assert _on_a_terminal(_NESTED, TERM="dumb") == ""
