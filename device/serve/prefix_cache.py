"""Prefix reuse: the beginnings of past prompts, kept as live sessions, so that a prompt runs only what is new in it.

A prompt always runs in the same pieces, and only whole pieces are kept. So logits are the same bits whatever was served
before, also where rounding depends on how a text is cut.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from duomem.device.agent.constrained_decoding import common_prefix
from duomem.device.engine.session import Engine, Session

PIECE = 32
"""Tokens of a prompt that run at once. A piece less is at most reused of a prefix; a larger piece is hardly faster."""


@dataclass
class Prefilled:
    """A session that holds a prompt. logits: float [vocab] after it. reused: how many of its tokens were not run."""

    session: Session
    logits: np.ndarray
    reused: int


@dataclass(frozen=True)
class _Kept:
    tokens: tuple[int, ...]
    session: Session


class PrefixCache:
    """A few live sessions, the last used last. One more than `capacity` is open at most."""

    def __init__(self, engine: Engine, capacity: int, piece: int = PIECE) -> None:
        """capacity: most sessions kept, 0 for none."""
        self._engine = engine
        self._capacity = capacity
        self._piece = piece
        self._kept: list[_Kept] = []

    def prefill(self, prompt: Sequence[int]) -> Generator[None, None, Prefilled]:
        """Run a prompt (at least one token), a pause after each piece; returns its session, which the caller closes."""
        tokens = tuple(prompt)
        session, reused = self._begin(tokens)
        try:
            whole = (len(tokens) - 1) // self._piece * self._piece
            for at in range(reused, whole, self._piece):
                session.prefill(tokens[at : at + self._piece])
                yield
            self._keep(tokens[:whole], session)
            return Prefilled(session, session.prefill(tokens[whole:]), reused)
        except BaseException:
            session.close()
            raise

    def close(self) -> None:
        """Give all sessions back."""
        for kept in self._kept:
            kept.session.close()
        self._kept.clear()

    def _begin(self, tokens: tuple[int, ...]) -> tuple[Session, int]:
        """A session that holds the longest known beginning of `tokens`, whole pieces and not all of them."""
        best, length = None, 0
        for kept in self._kept:
            shared = min(common_prefix(kept.tokens, tokens), len(tokens) - 1) // self._piece * self._piece
            if shared > length:
                best, length = kept, shared
        if best is None:
            return self._engine.session(), 0
        self._kept.remove(best)
        self._kept.append(best)
        session = best.session.fork()
        session.rollback(session.length - length)
        return session, length

    def _keep(self, tokens: tuple[int, ...], session: Session) -> None:
        """Keep a copy of `session`, which holds `tokens`; beginnings of it are kept no longer."""
        if not tokens or not self._capacity or any(kept.tokens[: len(tokens)] == tokens for kept in self._kept):
            return
        left = [kept for kept in self._kept if tokens[: len(kept.tokens)] != kept.tokens]
        left = left[max(0, len(left) - self._capacity + 1) :]
        for kept in self._kept:
            if kept not in left:
                kept.session.close()
        self._kept = [*left, _Kept(tokens, session.fork())]
