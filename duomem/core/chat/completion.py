"""A chat completion as OpenAI-compatible endpoints send it, read with suspicion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duomem.core.chat.model import Answer, Message
from duomem.core.errors import FileError
from duomem.core.reading import parse_json

_BYTES_A_TOKEN = 3
_FRAME = 8
"""Tokens that a chat format puts around a message, at most."""


class Unusable(ValueError):
    """Not a completion with a text in it; the message says why."""


def read_completion(data: bytes, messages: Sequence[Message], stop: Sequence[str], limit: int) -> Answer:
    """The answer in the body of a response of at most `limit` bytes.

    messages: what was asked; stop: what the text is cut at, should the endpoint not have done it. Where the endpoint
    does not count tokens, they are estimated. Raises Unusable.
    """
    try:
        body = parse_json(data, "the answer", limit)
    except FileError as e:
        raise Unusable(str(e)) from None
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(choice, dict) or not isinstance(text, str):
        raise Unusable("field choices[0].message.content is no text")
    for mark in stop:
        text = text.partition(mark)[0]
    if not text.strip():
        raise Unusable("the answer is empty")
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Answer(
        text,
        _count(counts.get("prompt_tokens"), estimate_tokens(messages)),
        _count(counts.get("completion_tokens"), len(text.encode()) // _BYTES_A_TOKEN + 1),
        "length" if choice.get("finish_reason") == "length" else "stop",
    )


def estimate_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens a model makes of these messages, rather too many: three bytes a token."""
    return sum(len(m.content.encode("utf-8", "replace")) // _BYTES_A_TOKEN + _FRAME for m in messages)


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else otherwise
