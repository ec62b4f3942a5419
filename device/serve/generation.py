"""One answer, token by token: prefill with prefix reuse, sampling, stop texts, log-probabilities."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from duomem.device.agent.constrained_decoding import log_softmax
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.serve.completion_request import CompletionRequest
from duomem.device.serve.metrics import Metrics
from duomem.device.serve.prefix_cache import PrefixCache
from duomem.device.serve.sampler import Sampler, top_tokens
from duomem.device.serve.text_stream import TextStream


@dataclass(frozen=True)
class Token:
    """A written token. log_p: its log-probability (nats, before temperature), None if not asked for. top: the likeliest
    tokens at its place and theirs.
    """

    id: int
    log_p: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What is certain since the last piece. finished: "stop" or "length" in the last one. reused: prompt tokens that
    were not run.
    """

    text: str
    tokens: tuple[Token, ...]
    finished: str | None
    reused: int


def generate(
    request: CompletionRequest, cache: PrefixCache, tokenizer: PromptTokenizer, metrics: Metrics
) -> Generator[Piece | None, None, None]:
    """The pieces of an answer, on the thread that owns the engine; None where nothing is to be told yet."""
    sampler = Sampler(request.temperature, request.top_p, request.seed)
    stream = TextStream(tokenizer.decode, request.stop)
    pending: list[Token] = []
    with cache.prompt(request.prompt) as prompt:
        logits = yield from prompt.prefill()
        metrics.add("tokens_reused_total", prompt.reused)
        metrics.add("tokens_prefilled_total", len(request.prompt) - prompt.reused)
        for n in range(1, request.max_tokens + 1):
            id = sampler.pick(logits)
            pending.append(_token(id, logits, request.top))
            text = "" if id in request.stop_ids else stream.push(id)
            finished = "stop" if id in request.stop_ids or stream.stopped else None
            finished = finished or ("length" if n == request.max_tokens else None)
            if finished:
                yield Piece(text + stream.finish(), tuple(pending), finished, prompt.reused)
                return
            if text:
                yield Piece(text, tuple(pending), None, prompt.reused)
                pending.clear()
            else:
                yield None
            logits = prompt.session.decode(id)
            metrics.add("tokens_decoded_total")


def _token(id: int, logits: np.ndarray, top: int | None) -> Token:
    if top is None:
        return Token(id)
    log_p = log_softmax(logits)
    return Token(id, float(log_p[id]), tuple((t, float(log_p[t])) for t in top_tokens(log_p, top)))
