"""How a served answer's next token is drawn: the likeliest, or by temperature and top-p from a seed."""

from __future__ import annotations

import numpy as np

from duomem.device.agent.constrained_decoding import log_softmax


class Sampler:
    """Draws the tokens of one answer. The same seed draws the same tokens from the same logits."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        """temperature: 0 for the likeliest token. top_p: share of the probability that is drawn from, the likeliest
        tokens first (nucleus sampling, Holtzman et al. 2020). seed: None for another answer each time.
        """
        self._temperature = temperature
        self._top_p = top_p
        self._random = np.random.default_rng(None if seed is None else seed % (1 << 64))

    def pick(self, logits: np.ndarray) -> int:
        """The next token; logits: float [vocab]. Of equals, the first counts as the likeliest."""
        if not self._temperature or not self._top_p:
            return int(logits.argmax())
        p = np.exp(log_softmax(logits / self._temperature))
        order = np.arange(p.size)
        if self._top_p < 1:
            order = np.argsort(-p, kind="stable")
            before = np.cumsum(p[order]) - p[order]
            order = order[before < self._top_p]
        sums = np.cumsum(p[order])
        drawn = np.searchsorted(sums, self._random.random() * sums[-1], side="right")
        return int(order[min(drawn, order.size - 1)])


def top_tokens(log_p: np.ndarray, n: int) -> list[int]:
    """The `n` likeliest tokens, likeliest first. log_p: [vocab]."""
    if not n:
        return []
    found = np.argpartition(-log_p, n - 1)[:n] if n < log_p.size else np.arange(log_p.size)
    return [int(token) for token in found[np.argsort(-log_p[found], kind="stable")]]
