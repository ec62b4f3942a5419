"""The admissible commands as a person is shown them: numbered, in an order that people count in, a verb at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.text import Text

from duomem.device.watch.rows import row

_NUMBER = re.compile(r"([0-9]{1,9})")
_LABEL = 10
"""Columns of the verb."""


def in_order(commands: Iterable[str]) -> list[str]:
    """Commands in the order of their numbers, "cabinet 2" before "cabinet 10"."""
    return sorted(
        commands, key=lambda command: [(int(p), "") if p.isdecimal() else (-1, p) for p in _NUMBER.split(command)]
    )


def command_rows(commands: Sequence[str], width: int, most: int) -> list[Text]:
    """Commands with their numbers, counted from 1, on at most `most` rows; the last one tells of those left out."""
    lines: list[Text] = []
    for verb, group in groupby(enumerate(commands, 1), lambda one: _split(one[1])[0]):
        line = _label(verb, width)
        for number, command in group:
            item = row(width - _LABEL, (f"{number} ", "bold"), (f"{_split(command)[1]}  ", ""))
            if line.cell_len > _LABEL and line.cell_len + item.cell_len - 2 > width:
                lines.append(line)
                line = _label("", width)
            line.append_text(item)
        lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], row(width, ("more: make the window higher, or type a command in words", "dim"))]
    for line in lines:
        line.truncate(width)
    return lines


def _label(verb: str, width: int) -> Text:
    label = row(_LABEL - 1, (verb, "cyan"))
    label.pad_right(_LABEL - label.cell_len)
    return label


def _split(command: str) -> tuple[str, str]:
    """Verb and the rest; a command of one word is all rest."""
    if command.startswith("go to "):
        return "go to", command[len("go to ") :]
    verb, _, rest = command.partition(" ")
    return (verb, rest) if rest else ("", verb)
