"""Progress on the error stream: a bar with a rate and the time left; where it is no terminal, a plain line a minute.

One place, so that every long stage looks alike. Short stages write nothing into a log.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from duomem.core.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

FIRST_LINE = 10.0
"""Seconds after which a stage that goes on says so in a log."""
EVERY = 60.0
"""Seconds between its later lines there."""
_SAMPLES = 60
"""Of at least a second each: the rate is that of the last minute or longer."""


class Bar:
    """What is done of one stage. A context manager, or an iterable that counts its `items`."""

    def __init__(self, items: Iterable[Any] | None, what: str, total: float | None, unit: str, initial: float) -> None:
        """See `progress`."""
        self.total = total
        self._items = items
        self._what = printable(what)
        self._unit = unit
        self._done = initial
        self._note = ""
        self._began = time.monotonic()
        self._updated = self._began
        self._samples = deque([(self._began, initial)], _SAMPLES)
        self._shown: _Screen | _Log | None = None

    def update(self, n: float = 1) -> None:
        """Count `n` more."""
        self._done += n
        self._updated = time.monotonic()
        if self._updated - self._samples[-1][0] >= 1:
            self._samples.append((self._updated, self._done))

    def note(self, text: str) -> None:
        """Say this beside it, until the next note: "3 won"."""
        self._note = printable(text)

    def line(self) -> str:
        """All of it in words: "teaching: 12/80 games, 2.1/s, 0:32 left, 11 won"."""
        return f"{self._what}: {self.figures()}"

    def figures(self) -> str:
        """The line without what it is of."""
        parts = [self._count(), *self._pace(), self._note]
        return ", ".join(part for part in parts if part)

    @property
    def what(self) -> str:
        """What it is of, printable."""
        return self._what

    @property
    def share(self) -> float | None:
        """Of the total, None where that is not known."""
        return min(1.0, self._done / self.total) if self.total else None

    def _count(self) -> str:
        if self._unit == "B":
            return _bytes(self._done) if self.total is None else f"{_bytes(self._done)} of {_bytes(self.total)}"
        if self.total is None and not self._done:
            return ""
        return f"{self._done:.0f}{'' if self.total is None else f'/{self.total:.0f}'} {self._unit}".rstrip()

    def _pace(self) -> list[str]:
        """Rate and time left, or what it took; the time alone where nothing is counted yet."""
        now = time.monotonic()
        (began, first), passed = self._samples[0], _clock(now - self._began)
        rate = (self._done - first) / (self._updated - began) if self._updated > began else 0.0
        if rate <= 0:
            return [passed]
        per_second = f"{_bytes(rate)}/s" if self._unit == "B" else _rate(rate)
        if self.total is None:
            return [per_second, passed]
        if self._done >= self.total:
            return [per_second, f"in {passed}"]
        return [per_second, f"{_clock((self.total - self._done) / rate - (now - self._updated))} left"]

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self._items or ():
                yield item
                self.update()

    def __enter__(self) -> Bar:
        if os.environ.get("RANK", "0") == "0":  # of several that train together the first one tells
            self._shown = _Screen(self) if _is_screen() else _Log(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.close(finished=kind is None)


def progress(
    items: Iterable[Any] | None, what: str, total: float | None = None, unit: str = "", initial: float = 0
) -> Bar:
    """A stage labelled `what`, over `items` (or counted by hand if None).

    total: of the units, by default the number of items; None where nobody knows it: then the time that passes is
    shown. unit: what is counted, in the plural ("games"); "B" for bytes. initial: done before.
    """
    if total is None and items is not None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    return Bar(items, what, total, unit, initial)


class _Screen:
    """A bar on a terminal, drawn again four times a second."""

    def __init__(self, bar: Bar) -> None:
        from rich.progress import BarColumn, ProgressColumn, SpinnerColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        class Label(ProgressColumn):
            def render(self, task: Any) -> Text:
                return Text(bar.what, no_wrap=True, overflow="ellipsis")

        class Drawn(BarColumn):
            def render(self, task: Any) -> Any:
                task.total, task.completed = (None, 0) if bar.share is None else (1.0, bar.share)
                return super().render(task)

        class Figures(ProgressColumn):
            max_refresh = None

            def render(self, task: Any) -> Text:
                return Text(bar.figures(), no_wrap=True, overflow="ellipsis")

        middle = SpinnerColumn("line") if bar.total is None else Drawn(bar_width=16)
        self._progress: Progress = RichProgress(
            Label(),
            middle,
            Figures(),
            console=_console(),
            refresh_per_second=4,
            redirect_stdout=sys.stdout.isatty(),
            transient=bar.total is None,
        )
        self._progress.add_task("", total=1.0)
        self._progress.start()

    def close(self, finished: bool) -> None:
        self._progress.stop()


class _Log:
    """Lines for a log: the first one early, then one a minute, and one at the end if there was any."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._said = False
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="progress", daemon=True).start()

    def _run(self) -> None:
        wait = FIRST_LINE
        while not self._ended.wait(wait):
            self._say()
            wait = EVERY

    def _say(self) -> None:
        self._said = True
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            print(self._bar.line(), file=sys.stderr, flush=True)

    def close(self, finished: bool) -> None:
        self._ended.set()
        if self._said and finished:
            self._say()


def _is_screen() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


@cache
def _console() -> Console:
    """The one that all bars share, so that a bar may be shown inside another."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rate(rate: float) -> str:
    if rate < 0.1:
        return f"{rate * 60:.2g} a minute"
    return f"{rate:.1f}/s" if rate < 100 else f"{rate:.0f}/s"


def _bytes(n: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n:.0f} B"
