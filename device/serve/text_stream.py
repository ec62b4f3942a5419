"""Tokens to text as they are written: no half characters, and nothing that a stop text may still take back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, so at most that many tokens."""
_UNFINISHED = "\ufffd"


class TextStream:
    """The text of one answer. stopped: whether a stop text was written; it and what follows are no part of the text."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        """decode: text of token ids. stop: texts that end the answer."""
        self._decode = decode
        self._stop = stop
        self._tokens: list[int] = []
        self._text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; returns the text that is certain now."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        if text.endswith(_UNFINISHED) and len(self._tokens) < _LONGEST_CHARACTER:
            return ""
        self._tokens.clear()
        self._text += text
        found = [at for stop in self._stop if (at := self._text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._text = self._text[: min(found)]
        return self._take(0 if self.stopped else self._held())

    def finish(self) -> str:
        """The rest of the text; no token follows."""
        if self._tokens and not self.stopped:
            self._text += self._decode(self._tokens)
            self._tokens.clear()
        return self._take(0)

    def _held(self) -> int:
        """Length of the longest end of the text that a stop text may begin with."""
        longest = min(len(self._text), max(map(len, self._stop), default=0))
        return next(
            (n for n in range(longest, 0, -1) if any(stop.startswith(self._text[-n:]) for stop in self._stop)), 0
        )

    def _take(self, hold: int) -> str:
        at = len(self._text) - hold
        taken, self._text = self._text[:at], self._text[at:]
        return taken
