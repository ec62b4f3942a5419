"""Text for a terminal: what a stranger wrote may hold characters that move the cursor, clear, hide or reorder."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with every character that str.isprintable refuses written as its escape, as "\\x9b": controls of C0 and
    C1, line ends, bidirectional marks, lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
