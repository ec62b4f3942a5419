"""The queue before the one engine: bounded, in order, and nothing runs for a client that has gone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine
from serving import END, NAME, VOCAB, Serve, Served, text_opinion, wait_until

from duomem.device.engine.session import Engine

OPINION = text_opinion()
YOU = ord("Y") - ord("!")
"""The token that the agents' system text begins with."""
ANSWER = {"model": NAME, "prompt": "Once", "max_tokens": 400, "temperature": 0}


class Gate:
    """An engine that runs no token until it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.runs = 0
        self.engine = FakeEngine(self._opinion, VOCAB, 1000, max_sessions=9)

    def _opinion(self, tokens: tuple[int, ...]) -> np.ndarray:
        if tokens[0] != YOU:
            self.runs += 1
            self.open.wait(10)
            time.sleep(0.002)
        logits = OPINION(tokens)
        logits[END] = -100  # answers end where they are cut
        return logits


@pytest.fixture
def gate() -> Any:
    gate = Gate()
    yield gate
    gate.open.set()


def _sessions(engine: Engine) -> int:
    assert isinstance(engine, FakeEngine)
    return len(engine.open)


def _depth(served: Served) -> float:
    (line,) = [x for x in served.metrics.text().splitlines() if x.startswith("duomem_queue_depth ")]
    return float(line.split()[1])


def test_a_full_queue_says_when_to_come_again(serve: Serve, gate: Gate) -> None:
    served = serve(gate.engine, queue=2)
    with served.http() as client, ThreadPoolExecutor(3) as pool:
        short = ANSWER | {"max_tokens": 2}
        answers = []
        for depth in (0, 1, 2):
            answers.append(pool.submit(client.post, "/v1/completions", json=short))
            wait_until(lambda depth=depth: gate.runs == 1 and _depth(served) == depth)
        refused = client.post("/v1/completions", json=short)
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "queue_full"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert client.get("/health").status_code == 200, "what needs no model does not wait"
        gate.open.set()
        assert [answer.result().status_code for answer in answers] == [200, 200, 200]


def test_the_official_client_comes_again(serve: Serve, gate: Gate) -> None:
    served = serve(gate.engine, queue=1)
    patient = served.openai().with_options(max_retries=5)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(patient.completions.create, **ANSWER | {"max_tokens": 2}) for _ in range(3)]
        wait_until(lambda: served.metrics.value("requests_total", path="/v1/completions", status="503") >= 1)
        gate.open.set()
        assert len({answer.result().choices[0].text for answer in asked}) == 1


def test_a_stream_whose_client_leaves_ends(serve: Serve, gate: Gate) -> None:
    gate.open.set()
    served = serve(gate.engine, kept=0)
    idle = _sessions(gate.engine)
    with served.openai().completions.create(**ANSWER, stream=True) as stream:
        for _ in range(3):
            next(iter(stream))
    served.wait_for("cancelled_total", 1)
    wait_until(lambda: _sessions(gate.engine) == idle)
    assert gate.runs < 300


def test_an_answer_whose_client_leaves_ends(serve: Serve, gate: Gate) -> None:
    import httpx

    gate.open.set()
    served = serve(gate.engine, kept=0)
    with served.http() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json=ANSWER, timeout=0.2)
    served.wait_for("cancelled_total", 1)
    assert gate.runs < 390


def test_who_leaves_while_waiting_is_never_run(serve: Serve, gate: Gate) -> None:
    import httpx

    served = serve(gate.engine, kept=0)
    with served.http() as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/completions", json=ANSWER | {"max_tokens": 2})
        wait_until(lambda: gate.runs == 1)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/completions", json=ANSWER | {"prompt": "Never"}, timeout=0.2)
        served.wait_for("cancelled_total", 1)
        assert _depth(served) == 0
        gate.open.set()
        assert first.result().status_code == 200
    assert served.metrics.value("tokens_prefilled_total") == 4


def test_a_command_does_not_wait_for_a_long_answer(serve: Serve, gate: Gate) -> None:
    gate.open.set()
    served = serve(gate.engine, kept=0)
    with served.openai().completions.create(**ANSWER | {"max_tokens": 990}, stream=True) as stream, served.http() as c:
        next(iter(stream))
        call = {"goal": "rest", "observation": "Now you see a bed 1."}
        assert c.post("/v1/act", json=call).json()["step"] == 1
        assert gate.runs < 900, "the answer was still being written"
    served.wait_for("cancelled_total", 1)


def test_commands_leave_half_of_the_time_to_answers(serve: Serve, gate: Gate) -> None:
    gate.open.set()
    served = serve(gate.engine, kept=0)
    answered = threading.Event()

    def hurry(client: Any) -> None:
        call = {"goal": "rest", "observation": "Now you see a bed 1."}
        while not answered.is_set():
            told = client.post("/v1/act", json=call).json()
            call = {"session": told["session"], "observation": "You see nothing."}

    with served.http() as client, ThreadPoolExecutor(1) as pool:
        hurrying = pool.submit(hurry, client)
        served.wait_for("commands_total", 1)
        before = served.metrics.value("commands_total")
        assert client.post("/v1/completions", json=ANSWER | {"max_tokens": 60}).status_code == 200
        answered.set()
        hurrying.result()
    given = served.metrics.value("commands_total") - before
    assert 1 <= given < 30, "a command takes as long as many tokens"


def test_a_failing_engine_fails_one_request(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    def opinion(tokens: tuple[int, ...]) -> np.ndarray:
        if len(tokens) == 5:
            raise RuntimeError("no\x1b[31m luck")
        return OPINION(tokens)

    engine = FakeEngine(opinion, VOCAB, 1000, max_sessions=9)
    served = serve(engine, kept=0)
    idle = _sessions(engine)
    with served.http() as client:
        failed = client.post("/v1/completions", json=ANSWER)
        assert failed.status_code == 500 and failed.json()["error"]["type"] == "server_error"
        assert "luck" not in failed.text
        events = client.post("/v1/completions", json=ANSWER | {"stream": True}).text.strip().split("\n\n")
        assert '"error":' in events[-2] and events[-1] == "data: [DONE]"
        assert client.post("/v1/completions", json=ANSWER | {"prompt": "Longer than five"}).status_code == 200
    assert _sessions(engine) == idle
    assert "a request failed: RuntimeError: no?[31m luck" in capfd.readouterr().err


def test_a_server_that_stops_lets_answers_end(serve: Serve, gate: Gate) -> None:
    served = serve(gate.engine)
    with served.http() as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/v1/completions", json=ANSWER | {"max_tokens": 5})
        wait_until(lambda: gate.runs == 1)
        served.server.should_exit = True
        time.sleep(0.3)
        gate.open.set()
        assert answer.result().json()["usage"]["completion_tokens"] == 5


def test_who_still_waits_when_the_server_stops_is_told(serve: Serve, gate: Gate) -> None:
    served = serve(gate.engine)
    with served.http() as client, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.post, "/v1/completions", json=ANSWER) for _ in range(2)]
        wait_until(lambda: gate.runs == 1 and _depth(served) == 1)
        served.server.should_exit = True
        time.sleep(1.5)
        gate.open.set()
        for answer in answers:
            response = answer.result()
            assert response.status_code == 503 and response.json()["error"]["code"] == "stopping"
            assert response.headers["Retry-After"] == "5"


def test_answers_that_do_not_end_are_cut_when_the_server_stops(serve: Serve, gate: Gate) -> None:
    import openai

    served = serve(gate.engine)
    gate.open.set()
    with served.openai().completions.create(**ANSWER | {"max_tokens": 990}, stream=True) as stream:
        next(iter(stream))
        began = time.monotonic()
        served.server.should_exit = True
        with pytest.raises(openai.APIError, match="the server stops"):
            for _ in stream:
                pass
    assert time.monotonic() - began < 8
    served.wait_for("cancelled_total", 1)
