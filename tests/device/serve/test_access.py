"""Without a token only programs of this machine may ask; with one, only who sends it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fakes import FakeEngine
from serving import NAME, VOCAB, Serve, text_opinion

from duomem.core.errors import ConfigError, UserError
from duomem.device.serve.access import TOKEN_ENV, is_loopback, read_token
from duomem.device.serve.server import ServeConfig, listen

TOKEN = "correct-horse-battery"
BODY = {"model": NAME, "prompt": "hi", "max_tokens": 2}


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Any:
    return serve(FakeEngine(text_opinion(), VOCAB, 900, max_sessions=9), token=TOKEN)


@pytest.fixture(scope="module")
def local(serve: Serve) -> Any:
    return serve(FakeEngine(text_opinion(), VOCAB, 900, max_sessions=9))


def test_the_official_client_sends_the_token(guarded: Any) -> None:
    import openai

    assert guarded.openai(api_key=TOKEN).completions.create(**BODY).choices
    for wrong in ("wrong", TOKEN[:-1], TOKEN + "y", "\xe4" * 16):
        with pytest.raises((openai.AuthenticationError, UnicodeEncodeError)):
            guarded.openai(api_key=wrong).completions.create(**BODY)


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/nothing", "/v1/act"])
def test_no_path_but_health_is_open(guarded: Any, path: str) -> None:
    with guarded.http() as client:
        refused = client.get(path)
        assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "invalid_api_key" and TOKEN not in refused.text
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("192.168.0.7", 403),
        ("", 403),
    ],
)
def test_on_loopback_the_host_is_loopbacks(local: Any, host: str, status: int) -> None:
    with local.http() as client:
        assert client.get("/v1/models", headers={"Host": host}).status_code == status


def test_a_web_page_cannot_post(local: Any) -> None:
    """A browser sends JSON to another origin only if that allows it, and text or a form without asking."""
    with local.http() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            headers = {"Content-Type": kind, "Origin": "https://evil.example"}
            assert client.post("/v1/completions", content=b'{"prompt": "a"}', headers=headers).status_code == 415
        asked = client.options("/v1/completions", headers={"Origin": "https://evil.example"})
        assert asked.status_code == 405 and "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_are_not_let_in_without_a_token(host: str) -> None:
    with pytest.raises(UserError, match=f"a token is needed.*{TOKEN_ENV}"):
        listen(host, 0, None)


def test_any_address_may_be_bound_with_a_token() -> None:
    with listen("0.0.0.0", 0, TOKEN) as listener:
        assert listener.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen there"):
            listen("0.0.0.0", listener.getsockname()[1], TOKEN)


def test_loopback() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("127.1.2.3") and is_loopback("localhost")
    with pytest.raises(UserError, match="no such address"):
        is_loopback("no such host")


def test_the_token_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_ENV, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_ENV, TOKEN)
    monkeypatch.setenv("OTHER", TOKEN + "2")
    assert (read_token(None), read_token("OTHER")) == (TOKEN, TOKEN + "2")
    assert TOKEN not in repr(ServeConfig(__import__("pathlib").Path(), token=TOKEN))


@pytest.mark.parametrize("token", ["", "short", "with a space in it", "line\nbreak in the middle", "ä" * 20, "x" * 600])
def test_a_token_that_is_none(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("OTHER", token)
    with pytest.raises(ConfigError, match="environment variable OTHER: its token") as error:
        read_token("OTHER")
    assert not token or token not in str(error.value)
    del os.environ["OTHER"]
    with pytest.raises(ConfigError, match="--token-env OTHER: this environment variable is not set"):
        read_token("OTHER")
