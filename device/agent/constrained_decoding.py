"""Constrained decoding: the likelihood of whole continuations, sharing their common prefixes in the KV cache.

`choose` finds the likeliest one exactly by best-first search; `score` computes them all.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duomem.device.engine.session import Session


@dataclass(frozen=True)
class Likeliest:
    """index of the likeliest continuation; its log-likelihood (nats, full vocabulary, every token of it);
    cached: how many of its first tokens the session holds now; others: what was met beside it, as (index, n,
    log-likelihood of the first n tokens of the continuation of that index).
    """

    index: int
    log_likelihood: float
    cached: int
    others: tuple[tuple[int, int, float], ...]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log softmax of float logits [..., vocab], as float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


class PrefixCursor:
    """A session that can be put anywhere below its starting point; remembers the path it is at."""

    def __init__(self, session: Session, logits: np.ndarray) -> None:
        self._session = session
        self._root = logits
        self.path: tuple[int, ...] = ()

    def logits(self, path: tuple[int, ...]) -> np.ndarray:
        """Logits of the token after the path, [vocab]. `path` is not above where it was: those are known."""
        if not path:
            return self._root
        keep = common_prefix(self.path, path)
        self._session.rollback(len(self.path) - keep)
        rest = path[keep:]
        logits = self._session.decode(rest[0]) if len(rest) == 1 else self._session.prefill(rest)
        self.path = path
        return logits

    def rewind(self, keep: int) -> None:
        """Forget all but the first `keep` tokens of the path."""
        self._session.rollback(len(self.path) - keep)
        self.path = self.path[:keep]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many first items two sequences share."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def choose(session: Session, logits: np.ndarray, continuations: Sequence[Sequence[int]]) -> Likeliest:
    """The continuation of highest full log-likelihood; of equals, the first.

    A prefix is never less likely than what continues it, so expanding the likeliest prefix first meets the
    best whole continuation before any other (uniform-cost search); most of them are never run at all. The
    session ends holding the first `cached` tokens of the chosen one. `logits`: float [vocab], after the
    session's last token. Raises ValueError without continuations or for an empty one.
    """
    paths = _checked(continuations)
    cursor = PrefixCursor(session, logits)
    heap: list[tuple[float, int, tuple[int, ...], bool]] = [(0.0, -1, (), False)]
    while True:
        cost, index, path, whole = heapq.heappop(heap)
        if whole:
            keep = common_prefix(cursor.path, path)
            cursor.rewind(keep)
            return Likeliest(index, -cost, keep, tuple((i, len(path), -cost) for cost, i, path, _ in heap))
        log_p = log_softmax(cursor.logits(path))
        depth = len(path)
        first: dict[int, int] = {}
        for i, candidate in enumerate(paths):
            if len(candidate) > depth and candidate[:depth] == path:
                token = candidate[depth]
                total = cost - float(log_p[token])
                if len(candidate) == depth + 1:
                    heapq.heappush(heap, (total, i, candidate, True))
                elif token not in first:
                    first[token] = i
                    heapq.heappush(heap, (total, i, candidate[: depth + 1], False))


def score(session: Session, logits: np.ndarray, continuations: Sequence[Sequence[int]]) -> np.ndarray:
    """Full log-likelihood of every continuation, float64 [n]; the session ends as it began."""
    paths = _checked(continuations)
    cursor = PrefixCursor(session, logits)
    totals = np.zeros(len(paths))
    known: dict[tuple[int, ...], np.ndarray] = {}
    for i in sorted(range(len(paths)), key=lambda i: paths[i]):
        path = paths[i]
        for depth, token in enumerate(path):
            prefix = path[:depth]
            if prefix not in known:
                known[prefix] = log_softmax(cursor.logits(prefix))
            totals[i] += known[prefix][token]
        known = {p: v for p, v in known.items() if p == path[: len(p)]}
    cursor.rewind(0)
    return totals


def _checked(continuations: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    paths = [tuple(c) for c in continuations]
    if not paths or not all(paths):
        raise ValueError("scoring needs at least one continuation, and none of them empty")
    return paths
