"""Prefix reuse: sessions of past prompts are kept, and one that begins like a new prompt goes on with it.

A prompt always runs in the same pieces, only whole pieces are reused, and a session is never forked (attention over a
fork's shared pages rounds in another order). So logits are the same bits whatever was served before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from duomem.device.agent.constrained_decoding import common_prefix
from duomem.device.engine.session import Engine, Session

PIECE = 32
"""Tokens of a prompt that run at once. Less than that is lost of a shared prefix; larger pieces are hardly faster."""


@dataclass(frozen=True)
class _Kept:
    """A session and the tokens it holds."""

    tokens: tuple[int, ...]
    session: Session


class Prompt:
    """A prompt and its session. reused: how many of its first tokens the session held already."""

    def __init__(self, tokens: tuple[int, ...], session: Session, piece: int) -> None:
        self.session = session
        self.reused = session.length
        self._tokens = tokens
        self._piece = piece

    def prefill(self) -> Generator[None, None, np.ndarray]:
        """Run what the session does not hold, a pause after each piece; returns float32 logits [vocab] after it."""
        last = (len(self._tokens) - 1) // self._piece * self._piece
        for at in range(self.reused, last, self._piece):
            self.session.prefill(self._tokens[at : at + self._piece])
            yield
        return self.session.prefill(self._tokens[last:])

    def trim(self) -> tuple[int, ...]:
        """Roll the session back to the whole pieces of the prompt that it holds; returns their tokens."""
        whole = min(self.session.length, len(self._tokens)) // self._piece * self._piece
        self.session.rollback(self.session.length - whole)
        return self._tokens[:whole]


class PrefixCache:
    """A few live sessions, the last used last. One more than `capacity` is open while a prompt is answered."""

    def __init__(self, engine: Engine, capacity: int, piece: int = PIECE) -> None:
        """capacity: most sessions kept, 0 for none. piece: tokens, no more than the library takes at once."""
        self._engine = engine
        self._capacity = capacity
        self._piece = piece
        self._kept: list[_Kept] = []

    @contextlib.contextmanager
    def prompt(self, tokens: Sequence[int]) -> Iterator[Prompt]:
        """A prompt of at least one token, to be prefilled and decoded after. At the end its session is kept, unless
        the engine failed. Not re-entrant.
        """
        whole = tuple(tokens)
        prompt = Prompt(whole, self._take(whole), self._piece)
        try:
            yield prompt
        except GeneratorExit:  # the client has gone: what was run is as good
            self._keep(prompt)
            raise
        except BaseException:
            prompt.session.close()
            raise
        self._keep(prompt)

    def _take(self, tokens: tuple[int, ...]) -> Session:
        """A session that holds a beginning of `tokens`, in whole pieces and not all of them.

        The kept one that shares most, if that is half of it at least. What else it holds is lost; so if it is more,
        the oldest goes, for which there would be no room any more.
        """
        if not self._kept:
            return self._engine.session()
        best = max(self._kept, key=lambda kept: self._shared(kept, tokens))
        if 2 * self._shared(best, tokens) < len(best.tokens):
            if len(self._kept) < self._capacity:
                return self._engine.session()
            best = self._kept[0]
        self._kept.remove(best)
        best.session.rollback(best.session.length - self._shared(best, tokens))
        return best.session

    def _shared(self, kept: _Kept, tokens: tuple[int, ...]) -> int:
        """How many first tokens may be reused."""
        return min(common_prefix(kept.tokens, tokens), len(tokens) - 1) // self._piece * self._piece

    def _keep(self, prompt: Prompt) -> None:
        """Keep the prompt's session; sessions that hold a beginning of it are kept no longer."""
        tokens = prompt.trim()
        if not tokens or not self._capacity:
            prompt.session.close()
            return
        left = [kept for kept in self._kept if tokens[: len(kept.tokens)] != kept.tokens]
        left = left[max(0, len(left) - self._capacity + 1) :]
        for kept in self._kept:
            if kept not in left:
                kept.session.close()
        self._kept = [*left, _Kept(tokens, prompt.session)]
