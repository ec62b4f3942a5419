"""What may reach a terminal."""

from __future__ import annotations

import pytest

from duomem.core.text import printable


@pytest.mark.parametrize("text", ["", "put a mug in desk 1.", "Käse, 机, ñ"])
def test_text_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "hidden", ["\x1b", "\x9b", "\x7f", "\n", "\r", "\u202e", "\u2066", "\u200b", "\u2028", "\ud800"], ids=ascii
)
def test_what_steers_a_terminal_is_written_out(hidden: str) -> None:
    shown = printable(f"a{hidden}b")
    assert shown.isprintable() and shown[0] == "a" and shown[1] == "\\" and shown[-1] == "b"
