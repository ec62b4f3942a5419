"""An error is one line that a terminal may print, whatever it quotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem.core.errors import DeployError, UserError


@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("a\x1b[2Jb", "a?[2Jb"),
        ("a\x9b2Jb\x07", "a?2Jb?"),
        ("a\u202eb\u2066c\u200f", "a?b?c?"),
        ("a\ud800b", "a?b"),
        ("a\r\nb\x85c\u2028d", "a b c d"),
        ("bücher 日本 ✓", "bücher 日本 ✓"),
    ],
)
def test_what_it_quotes_is_printable(quoted: str, shown: str) -> None:
    assert str(UserError(f"x: {quoted}")) == f"x: {shown}"


def test_it_keeps_its_beginning_and_its_end() -> None:
    line = str(DeployError(f"file.json: {'x' * (1 << 20)}: copy it again"))
    assert len(line) < 2100 and line.startswith("file.json: x") and line.endswith("x: copy it again")


@given(st.text(st.characters(), max_size=50))
def test_any_text(text: str) -> None:
    line = str(UserError(text))
    assert line.isprintable() and line.encode("utf-8").decode() == line
