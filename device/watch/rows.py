"""Rows of printable text of a given width, never read as markup: what the drawn parts of a moment are made of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from rich.text import Text

from duomem.core.errors import printable
from duomem.core.scene import runs

Part = tuple[str, str]
"""A text and its style."""

_NUMBERED = re.compile(r"(.+) ([0-9]{1,6})")
_BEFORE_NUMBER = re.compile(r" (?=[0-9])")
"""Where no line is broken."""
_INDENT = 4
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def row(width: int, *parts: Part) -> Text:
    """Parts on one row, cut to its width."""
    text = Text.assemble(*((printable(text), style) for text, style in parts), no_wrap=True)
    text.truncate(width, overflow="ellipsis")
    return text


def rows(text: str, width: int, most: int, style: str = "", first: Part = ("", "")) -> list[Text]:
    """A text after `first` on at most `most` rows, cut there; lines of its own stay apart."""
    lead = printable(first[0])
    said = [_BEFORE_NUMBER.sub("\1", printable(line)) for line in text.splitlines()] or [""]
    said[0] = "\0" * len(lead) + said[0]  # stands for `first` while lines are broken
    lines = [
        part
        for line in said
        for part in textwrap.wrap(line, width, subsequent_indent=" " * _INDENT if lead else "", break_on_hyphens=False)
    ] or [""]
    if len(lines) > most > 0:
        lines[most - 1] = f"{lines[most - 1]} {lines[most].strip()}"
    return [
        row(width, first, (line.replace("\0", ""), style)) if i == 0 else row(width, (line, style))
        for i, line in enumerate(line.replace("\1", " ") for line in lines[: max(0, most)])
    ]


def ranges(names: Iterable[str]) -> str:
    """Names with a number, those of a kind together: "cabinet 1-3+5, mug 2"."""
    numbers: dict[str, list[int]] = {}
    others: list[str] = []
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            others.append(name)
        else:
            numbers.setdefault(match[1], []).append(int(match[2]))
    return ", ".join([*(f"{kind} {runs(sorted(set(found)))}" for kind, found in numbers.items()), *others])


def bar(share: float, width: int) -> str:
    """A bar of `width` columns for a share of 0 to 1, in eighths of a column; something shows of every share."""
    eighths = max(1, round(min(1.0, max(0.0, share)) * width * 8))
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[part] if part else "")).ljust(width)
