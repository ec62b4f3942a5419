"""A wrong request gets OpenAI's error object with the right status, naming the field; the server goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine
from serving import NAME, VOCAB, Serve, text_opinion

from duomem.device.serve.body import MOST_BYTES

GOOD = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


@pytest.fixture(scope="module")
def client(serve: Serve) -> Any:
    with serve(FakeEngine(text_opinion(), VOCAB, 200, max_sessions=9)).http() as client:
        yield client


def _refused(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"} and error["message"].isprintable()
    return error


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, None),
        ({"messages": [{"role": "user", "content": "a" * 300}]}, "messages"),
        ({"messages": [{"role": "user", "content": "hi"}] * 3000}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 500}, "messages"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 3}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"n": 2}, "n"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"beam_width": 4}, "beam_width"),
        ({"model": 3}, "model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_is_named(client: Any, change: dict[str, Any], param: str | None) -> None:
    error = _refused(client.post("/v1/chat/completions", json=GOOD | change), 400)
    assert error["type"] == "invalid_request_error" and (param is None or error["param"] == param)
    assert client.post("/v1/chat/completions", json=GOOD).status_code == 200


@pytest.mark.parametrize("prompt", [None, "", [], [[]], ["a", "b"], [1, "a"], [VOCAB], [-1], {"a": 1}, [True]])
def test_a_wrong_prompt(client: Any, prompt: Any) -> None:
    assert _refused(client.post("/v1/completions", json={"prompt": prompt}), 400)["param"] == "prompt"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[1]", 400),
        (b"\xff", 400),
        (b'{"model": NaN}', 400),
        (b'{"model": "\\ud800"}', 400),
        (b'{"seed": ' + b"9" * 10_000 + b"}", 400),
        (b'{"metadata": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400),
        (b'{"metadata": ' + b"[" * 20 + b"]" * 20 + b"}", 400),
        (b" " * (MOST_BYTES + 1), 413),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_body_that_is_not_read(client: Any, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    _refused(client.post("/v1/completions", content=body, headers=headers), status)


def test_what_is_not_there(client: Any) -> None:
    assert _refused(client.post("/v1/completions", json={"prompt": "a", "model": "other"}), 404)["code"] == (
        "model_not_found"
    )
    _refused(client.get("/v1/nothing"), 404)
    _refused(client.get("/v1/completions"), 405)


def test_a_model_without_a_chat_format(serve: Serve, byte_tokenizer: Path) -> None:
    with serve(FakeEngine(text_opinion(), VOCAB, 900, max_sessions=9), byte_tokenizer, stop_ids=()).http() as client:
        error = _refused(client.post("/v1/chat/completions", json=GOOD), 400)
        assert error["code"] == "no_chat_format" and "<|im_start|>" in error["message"]
        assert client.post("/v1/completions", json={"prompt": "hi"}).status_code == 200


def test_null_is_as_good_as_missing(client: Any) -> None:
    nothing = dict.fromkeys(("temperature", "stop", "n", "logprobs", "stream_options", "tools", "user", "seed"))
    assert client.post("/v1/chat/completions", json=GOOD | nothing).status_code == 200
