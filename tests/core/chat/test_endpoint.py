"""An endpoint is asked again after every fault, bounded in bytes and time, and no key ever shows."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from fake_endpoint import FAULTS, FakeEndpoint

from duomem.core.chat.address import Endpoint
from duomem.core.chat.endpoint import EndpointModel
from duomem.core.chat.faults import NoAnswer, PromptTooLong
from duomem.core.chat.model import Message
from duomem.core.chat.retry import Backoff
from duomem.core.errors import ChatError

pytest.importorskip("openai", reason="openai is not installed: pip install duomem[llm]")

QUICK = Backoff(tries=3, first=0.005, longest=0.02)
SECRET = "sk-very-secret-0123456789"
ASKED = [Message("system", "Play."), Message("user", "hello")]
NOT_THERE = {"429", "429 date", "500", "timeout", "hang up", "endless error"}
"""Faults of an endpoint that is not there or too busy; the others are those of one that answers."""


class Parrot(FakeEndpoint):
    """Says one thing, or fails in one way as often as `failures` says, then never again."""

    def __init__(self, fault: str = "", failures: int = 0, **options: Any) -> None:
        super().__init__(rate=1.0 if failures else 0.0, faults=(fault,), **options)
        self._left = failures

    async def _fail(self, fault: str, writer: asyncio.StreamWriter, question: dict) -> bool:
        self._left -= 1
        self.rate = 1.0 if self._left > 0 else 0.0
        return await super()._fail(fault, writer, question)

    def answer(self, question: dict) -> str:
        return "Action: look"


class Fickle(FakeEndpoint):
    """Fails in one way, once its `rate` is 1."""

    def __init__(self, fault: str) -> None:
        super().__init__(faults=(fault,))

    def answer(self, question: dict) -> str:
        return "Action: look"


def _answer(endpoint: FakeEndpoint, key: str = "", timeout: float = 10.0, **options: Any) -> Any:
    async def ask() -> Any:
        model = EndpointModel(Endpoint("fake", endpoint.url, key, timeout, QUICK), seed=0)
        try:
            return await model.answer(ASKED, **({"max_tokens": 7} | options))
        finally:
            await model.close()

    return asyncio.run(ask())


def test_what_is_asked() -> None:
    with Parrot(key=SECRET).serving() as fake:
        found = _answer(fake, SECRET, temperature=0.5, stop=["\nObservation:"], seed=3)
    assert (found.text, found.finished) == ("Action: look", "stop") and found.prompt_tokens > 0
    (asked,) = fake.questions
    assert asked == {
        "model": "fake",
        "messages": [{"role": m.role, "content": m.content} for m in ASKED],
        "max_tokens": 7,
        "temperature": 0.5,
        "stop": ["\nObservation:"],
        "seed": 3,
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_tried_again(fault: str) -> None:
    with Parrot(fault, 2).serving() as fake:
        assert _answer(fake, timeout=_patience(fault)).text == "Action: look"
    assert fake.asked[fault] == 2 and set(fake.asked) == {fault, "good"}


def _patience(fault: str) -> float:
    """Seconds for an answer: few where it does not come, many where a busy machine may be late with it."""
    return 0.5 if fault in ("timeout", "drip") else 10.0


def _errors(endpoint: FakeEndpoint, times: int) -> list[ChatError]:
    """What so many questions raise, asked by a model that had one good answer before if the endpoint was good then."""

    async def ask() -> list[ChatError]:
        at = Endpoint("fake", endpoint.url, "", _patience(*endpoint.faults), QUICK)
        model, found = EndpointModel(at, seed=0), []
        if endpoint.rate == 0:
            await model.answer(ASKED, max_tokens=7)
            endpoint.rate = 1.0
        for _ in range(times):
            with pytest.raises(ChatError, match="3 times") as caught:
                await model.answer(ASKED, max_tokens=7)
            found.append(caught.value)
        await model.close()
        return found

    return asyncio.run(ask())


@pytest.mark.parametrize("fault", FAULTS)
def test_tries_end(fault: str) -> None:
    """Whether the model is there makes the difference: an episode is marked, or the run stops."""
    with Fickle(fault).serving() as fake:
        (error,) = _errors(fake, 1)
    assert fake.asked[fault] == 3 and isinstance(error, NoAnswer) == (fault not in NOT_THERE)
    assert "model fake at http://127.0.0.1:" in str(error)


def test_an_endpoint_that_never_answers_well_is_wrong() -> None:
    """At first at once, later after some questions: else every episode of a run would be marked as lost."""
    with Fickle("shape").serving() as fake:
        fake.rate = 1.0
        (error,) = _errors(fake, 1)
        assert not isinstance(error, NoAnswer) and "answers chats there" in str(error)
        fake.rate = 0.0
        found = [isinstance(error, NoAnswer) for error in _errors(fake, 10)]
        assert found == [True] * 8 + [False] * 2


def test_nobody_there() -> None:
    with Parrot().serving() as fake:
        pass
    with pytest.raises(ChatError, match=r"cannot be reached.*see that it runs"):
        _answer(fake)


def test_retry_after_is_waited_for() -> None:
    with Parrot("429", 1).serving() as fake:
        started = time.monotonic()
        _answer(fake)
    assert time.monotonic() - started >= 0.02


def test_a_wrong_key_stops_at_once_and_is_not_shown() -> None:
    with Parrot(key="another").serving() as fake, pytest.raises(ChatError, match="status 401") as caught:
        _answer(fake, SECRET)
    assert fake.asked == {"401": 1}
    assert SECRET not in str(caught.value) and "***" in str(caught.value) and str(caught.value).isprintable()
    assert SECRET not in repr(Endpoint("m", None, SECRET)) + repr(
        EndpointModel(Endpoint("m", fake.url, SECRET)).__dict__
    )


class Refusing(FakeEndpoint):
    """Answers with one status, unless the question is as it wants it."""

    def __init__(self, status: int, said: str, good: str = "nothing") -> None:
        super().__init__(rate=1.0, faults=("refused",))
        self._status, self._said, self._good = status, said, good

    async def _fail(self, fault: str, writer: asyncio.StreamWriter, question: dict) -> bool:
        good = self._good in question
        body = self._body(question, "Action: look") if good else json.dumps({"error": {"message": self._said}}).encode()
        head = f"HTTP/1.1 {200 if good else self._status} X\r\nContent-Length: {len(body)}\r\nLocation: /v2\r\n\r\n"
        writer.write(head.encode() + body)
        return True


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "This model's maximum context length is 4096 tokens", PromptTooLong),
        (413, "exceeds the available context size", PromptTooLong),
        (400, "no such field", ChatError),
        (404, "The model `fake` does not exist.", ChatError),
        (429, "insufficient_quota", ChatError),
        (307, "elsewhere", ChatError),
    ],
)
def test_a_refusal_is_not_tried_again(status: int, said: str, kind: type[Exception]) -> None:
    with Refusing(status, said).serving() as fake, pytest.raises(ChatError, match=said.split("`")[0]) as caught:
        _answer(fake)
    assert type(caught.value) is kind and sum(fake.asked.values()) == 1


def test_the_newer_name_of_the_limit() -> None:
    """Learned once, also by those that ask at the same time."""
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."

    async def ask() -> list[Any]:
        model = EndpointModel(Endpoint("fake", fake.url, "", 5.0, QUICK))
        found = await asyncio.gather(*(model.answer(ASKED, max_tokens=7) for _ in range(3)))
        await model.close()
        return found

    with Refusing(400, said, "max_completion_tokens").serving() as fake:
        assert [one.text for one in asyncio.run(ask())] == ["Action: look"] * 3
    assert fake.questions[-1]["max_completion_tokens"] == 7 and "max_tokens" not in fake.questions[-1]


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://", "http://x:y/v1", "http://x /v1", "http://\u00e4/"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ChatError, match=r"--endpoint .*is no address"):
        Endpoint("m", url)


@pytest.mark.parametrize("url", [f"http://me:{SECRET}@x/v1", f"http://x/v1?key={SECRET}", f"http://x/#{SECRET}"])
def test_an_address_with_a_key_in_it(url: str) -> None:
    with pytest.raises(ChatError, match="ends up in logs") as caught:
        Endpoint("m", url)
    assert SECRET not in str(caught.value)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ChatError, match=r"\$OPENAI_API_KEY: no key"):
        Endpoint.of_environment("m", None)
    with pytest.raises(ChatError, match=r"\$MY_KEY: no key"):
        Endpoint.of_environment("m", "http://x/v1", "MY_KEY")
    assert Endpoint.of_environment("m", "http://x/v1").key == ""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://y/v1")
    monkeypatch.setenv("MY_KEY", SECRET)
    found = Endpoint.of_environment("m", None, "MY_KEY")
    assert (found.url, found.key) == ("http://y/v1", SECRET)
    monkeypatch.setenv("MY_KEY", f"{SECRET}\n")
    with pytest.raises(ChatError, match=r"\$MY_KEY: holds no key") as caught:
        Endpoint.of_environment("m", None, "MY_KEY")
    assert SECRET not in str(caught.value)
