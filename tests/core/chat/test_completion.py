"""A completion is read whatever an endpoint leaves out, and refused whatever it makes up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from duomem.core.chat.completion import Unusable, estimate_tokens, read_completion
from duomem.core.chat.model import Answer, Message

ASKED = [Message("user", "x" * 30)]


def _body(text: Any = "Action: look", **more: Any) -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}} | more).encode()


def test_an_answer() -> None:
    assert read_completion(_body(), ASKED, (), 1000) == Answer("Action: look", 9, 3, "stop")
    cut = [{"message": {"content": "a"}, "finish_reason": "length"}]
    assert read_completion(_body(choices=cut), ASKED, (), 1000).finished == "length"


def test_it_is_cut_at_a_stop_sequence() -> None:
    assert read_completion(_body("a\nObservation: b"), ASKED, ("\nObservation:",), 1000).text == "a"
    with pytest.raises(Unusable, match="empty"):
        read_completion(_body("\nObservation: b"), ASKED, ("\nObservation:",), 1000)


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": "9"}]
)
def test_tokens_that_are_not_counted_are_estimated(usage: Any) -> None:
    found = read_completion(_body(usage=usage), ASKED, (), 1000)
    assert (found.prompt_tokens, found.completion_tokens) == (estimate_tokens(ASKED), 5) == (18, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": []}]}',
        _body(None),
        _body(["look"]),
        _body("  \n"),
        _body()[:-1],
        b"\xff" + _body(),
        _body("\ud800"),
        b"[" * 90_000 + b"]" * 90_000,
        _body("x" * 200_000),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_anything_else_is_unusable(body: bytes) -> None:
    with pytest.raises(Unusable):
        read_completion(body, ASKED, (), 200_000)
