"""A student without a model: it keeps the Engine contract to the letter and answers from its tokens alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from duomem.core.errors import UserError
from duomem.device.agent.agent import Agent
from duomem.device.agent.evaluate import EvalConfig
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.session import ContextFull
from duomem.memory_packs.overlay import Overlay
from duomem.memory_packs.pack import read_pack

Opinion = Callable[[tuple[int, ...]], np.ndarray]
"""Tokens so far -> logits [vocab]."""


def random_opinion(vocab_size: int, seed: int = 0, levels: int | None = None) -> Opinion:
    """Logits drawn by a hash of the tokens; with `levels`, from so few values that many are equal."""

    def opinion(tokens: tuple[int, ...]) -> np.ndarray:
        digest = hashlib.blake2b(np.array([seed, *tokens], np.int64).tobytes(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "little"))
        if levels is not None:
            return rng.integers(0, levels, vocab_size).astype(np.float32)
        return (3 * rng.standard_normal(vocab_size)).astype(np.float32)

    return opinion


def set_on(stream: Sequence[int], vocab_size: int) -> Opinion:
    """A student that continues `stream` wherever it is on it."""
    base = random_opinion(vocab_size)

    def opinion(tokens: tuple[int, ...]) -> np.ndarray:
        logits = base(tokens)
        if len(tokens) < len(stream) and tuple(stream[: len(tokens)]) == tokens:
            logits[stream[len(tokens)]] = 40
        return logits

    return opinion


class FakeEngine:
    """open: sessions not yet closed; closed: the tokens each session held when it was closed."""

    def __init__(self, opinion: Opinion, vocab_size: int, context_length: int = 100_000, max_sessions: int = 2) -> None:
        self.opinion, self.vocab_size, self.context_length = opinion, vocab_size, context_length
        self.max_sessions = max_sessions
        self.open: list[FakeSession] = []
        self.closed: list[tuple[int, ...]] = []

    def session(self) -> FakeSession:
        return FakeSession(self, ())


class FakeSession:
    """Raises ValueError for whatever the contract does not allow."""

    def __init__(self, engine: FakeEngine, tokens: tuple[int, ...]) -> None:
        if len(engine.open) == engine.max_sessions:
            raise UserError("all sessions are in use")
        self._engine, self.tokens = engine, tokens
        engine.open.append(self)

    @property
    def length(self) -> int:
        return len(self.tokens)

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        self._check()
        if not len(tokens) or not all(0 <= t < self._engine.vocab_size for t in tokens):
            raise ValueError(f"bad tokens {tokens}")
        if len(self.tokens) + len(tokens) > self._engine.context_length:
            raise ContextFull("the context is full")
        self.tokens += tuple(tokens)
        return self._engine.opinion(self.tokens)

    def decode(self, token: int) -> np.ndarray:
        return self.prefill([token])

    def rollback(self, n: int) -> None:
        self._check()
        if not 0 <= n <= len(self.tokens):
            raise ValueError(f"rollback of {n} tokens of {len(self.tokens)}")
        self.tokens = self.tokens[: len(self.tokens) - n]

    def fork(self) -> FakeSession:
        self._check()
        return FakeSession(self._engine, self.tokens)

    def close(self) -> None:
        if self in self._engine.open:
            self._engine.open.remove(self)
            self._engine.closed.append(self.tokens)

    def _check(self) -> None:
        if self not in self._engine.open:
            raise ValueError("the session is closed")


def fake_agent(config: EvalConfig, tokenizer: Path, overlay: Overlay | None = None) -> Agent:
    """What load_agent gives for `config`, on an engine without a model. tokenizer: folder of the byte tokenizer."""
    retriever = read_pack(config.pack).retriever if config.pack else None
    engine = FakeEngine(random_opinion(300), 300)
    prompts, play = PromptTokenizer(tokenizer), config.play
    return Agent(engine, prompts, "student:fake", config.protocol, retriever, play.k, play.max_steps, overlay=overlay)
