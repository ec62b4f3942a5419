"""Answers as OpenAI's JSON objects: whole ones, and the chunks of a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from duomem.device.serve.completion_request import CompletionRequest
from duomem.device.serve.generation import Piece, Token

TokenText = Callable[[int], str]
"""The text of one token, special ones by name."""


@dataclass
class Answer:
    """The objects of one answer. model: its name. token_text: see TokenText."""

    request: CompletionRequest
    model: str
    token_text: TokenText
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """The answer in one object. pieces: all of them."""
        text = "".join(piece.text for piece in pieces)
        tokens = [token for piece in pieces for token in piece.tokens]
        choice: dict[str, Any] = {"index": 0, "finish_reason": pieces[-1].finished}
        if self.request.chat:
            choice |= {"message": {"role": "assistant", "content": text, "refusal": None}}
        else:
            choice |= {"text": text}
        choice["logprobs"] = self._log_probs(tokens, 0)
        if self.request.token_ids:
            choice |= {"token_ids": [token.id for token in tokens]}
        usage = self._usage(len(tokens), pieces[-1].reused)
        ids = {"prompt_token_ids": list(self.request.prompt)} if self.request.token_ids else {}
        return {**self._head(""), "choices": [choice], "usage": usage, **ids}

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        if not self.request.chat:
            return []
        delta = {"role": "assistant", "content": ""}
        return [self._chunk({"index": 0, "delta": delta, "logprobs": None, "finish_reason": None})]

    def chunk(self, piece: Piece, offset: int) -> dict[str, Any]:
        """A piece of a stream. offset: letters of the answer before it."""
        text = {"delta": {"content": piece.text}} if self.request.chat else {"text": piece.text}
        choice: dict[str, Any] = {"index": 0, **text, "logprobs": self._log_probs(piece.tokens, offset)}
        choice["finish_reason"] = piece.finished
        if self.request.token_ids:
            choice |= {"token_ids": [token.id for token in piece.tokens]}
        return self._chunk(choice)

    def last(self, tokens: int, reused: int) -> list[dict[str, Any]]:
        """What a stream ends with: the usage, if it was asked for. tokens: written in all."""
        return (
            [{**self._head(".chunk"), "choices": [], "usage": self._usage(tokens, reused)}]
            if self.request.usage
            else []
        )

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {**self._head(".chunk"), "choices": [choice], **({"usage": None} if self.request.usage else {})}

    def _head(self, suffix: str) -> dict[str, Any]:
        """suffix: of a chat's object name; a completion's chunks have the name of the whole."""
        kind, start = (f"chat.completion{suffix}", "chatcmpl") if self.request.chat else ("text_completion", "cmpl")
        return {"id": f"{start}-{self.id}", "object": kind, "created": self.created, "model": self.model}

    def _usage(self, tokens: int, reused: int) -> dict[str, Any]:
        prompt = len(self.request.prompt)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": tokens,
            "total_tokens": prompt + tokens,
            "prompt_tokens_details": {"cached_tokens": reused},
        }

    def _log_probs(self, tokens: Sequence[Token], offset: int) -> dict[str, Any] | None:
        if self.request.top is None:
            return None
        if self.request.chat:
            return {"content": [self._log_prob(token) for token in tokens], "refusal": None}
        texts = [self.token_text(token.id) for token in tokens]
        offsets = [offset + len("".join(texts[:i])) for i in range(len(texts))]
        return {
            "tokens": texts,
            "token_logprobs": [token.log_p for token in tokens],
            "top_logprobs": [{self.token_text(id): log_p for id, log_p in token.top} for token in tokens],
            "text_offset": offsets,
        }

    def _log_prob(self, token: Token) -> dict[str, Any]:
        top = [self._named(id, log_p) for id, log_p in token.top]
        return {**self._named(token.id, token.log_p), "top_logprobs": top}

    def _named(self, id: int, log_p: float | None) -> dict[str, Any]:
        text = self.token_text(id)
        return {"token": text, "logprob": log_p, "bytes": None if "\ufffd" in text else list(text.encode())}
