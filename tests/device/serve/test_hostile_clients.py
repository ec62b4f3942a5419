"""Clients that break HTTP, stop in the middle or flood: each is answered or cut, and the next one is served."""

from __future__ import annotations

import json
import random
import socket
from typing import Any

import pytest
from fakes import FakeEngine
from serving import NAME, VOCAB, Serve, Served, text_opinion

BODY = json.dumps({"model": NAME, "prompt": "hi", "max_tokens": 2, "temperature": 0}).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def served(serve: Serve) -> Served:
    return serve(FakeEngine(text_opinion(), VOCAB, 200, max_sessions=9))


def _send(served: Served, data: bytes, wait: bool = True) -> bytes:
    """What the server answers to `data`, up to its end or a cut; nothing is waited for without `wait`."""
    host, port = served.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(data)
            if wait:
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    answer += piece
        except TimeoutError:
            raise
        except OSError:  # it was cut
            pass
    return answer


def _is_well(served: Served) -> None:
    with served.http() as client:
        headers = {"Content-Type": "application/json"}
        assert client.post("/v1/completions", content=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 3_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 3_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["tls", "version", "length", "chunked", "header", "path"],
)
def test_what_is_no_http_gets_an_error(served: Served, data: bytes) -> None:
    answer = _send(served, data)
    assert answer == b"" or 400 <= int(answer.split()[1]) < 500
    _is_well(served)


@pytest.mark.parametrize("seed", range(3))
def test_requests_cut_or_changed_anywhere(served: Served, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        data = bytearray(GOOD[: rng.randrange(len(GOOD) + 1)])
        for _ in range(rng.randrange(3)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        _send(served, bytes(data), wait=False)
    _is_well(served)
    assert capfd.readouterr().err == ""


def test_a_chunked_body_is_bounded_too(served: Served) -> None:
    def parts() -> Any:
        for _ in range(40):
            yield b" " * 65536

    with served.http() as client:
        refused = client.post("/v1/completions", content=parts(), headers={"Content-Type": "application/json"})
        assert refused.status_code == 413
    _is_well(served)
