"""A chat model behind an OpenAI-compatible endpoint, asked through the official client.

What it sends is bounded in bytes and time. Faults are tried again with growing delays.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from duomem.core.chat.address import Endpoint
from duomem.core.chat.completion import Unusable, read_completion
from duomem.core.chat.faults import NoAnswer, PromptTooLong
from duomem.core.chat.model import Answer, Message
from duomem.core.chat.retry import retry_after
from duomem.core.errors import ChatError

_CONNECT = 10.0
_FRAME_BYTES = 1 << 16
_BYTES_A_TOKEN = 64
"""Most that an answer may have around its text, and for each of its tokens."""
_SAID = 4096
"""Bytes read of what an endpoint says with an error."""
_AGAIN = (408, 409, 425, 429)
_HOPELESS = 8
"""After so many questions in a row without a usable answer it is the endpoint that is wrong, not the question."""


class _Fault(Exception):
    """One question that brought nothing. asked: seconds the endpoint asks to wait; is_answer: whether it did answer."""

    def __init__(self, what: str, is_answer: bool = False, asked: float | None = None) -> None:
        super().__init__(what)
        self.is_answer = is_answer
        self.asked = asked


class _Status(Exception):
    """The endpoint answered with an error."""

    def __init__(self, status: int, said: str, asked: float | None) -> None:
        super().__init__(said)
        self.status, self.said, self.asked = status, said, asked


class EndpointModel:
    """The model of an endpoint (keeps ChatModel)."""

    def __init__(self, endpoint: Endpoint, seed: int | None = None) -> None:
        """seed: of the jitter. Raises ChatError without the extra `llm`."""
        try:
            import openai  # pyright: ignore[reportMissingImports]
        except ImportError as e:
            raise ChatError(f"asking an endpoint needs the extra `llm` ({e}): pip install 'duomem[llm]'") from None
        self._openai = openai
        self._endpoint = endpoint
        self._rng = random.Random(seed)
        self._limit = "max_tokens"
        self._unanswered = _HOPELESS  # until there is a first answer
        timeout = openai.Timeout(endpoint.timeout, connect=min(_CONNECT, endpoint.timeout))
        self._client = openai.AsyncOpenAI(
            api_key=endpoint.key or "none",
            base_url=endpoint.url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                timeout=timeout, follow_redirects=False, event_hooks={"response": [_refuse]}
            ),
            default_headers={"Accept-Encoding": "identity"},
        )

    @property
    def name(self) -> str:
        """The model's name as the endpoint knows it."""
        return self._endpoint.model

    async def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        """See ChatModel. Raises NoAnswer, PromptTooLong, or ChatError where the endpoint is not there or refuses."""
        question: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [],
            # The client checks what is in `messages` part by part, which takes it longer than all else it does.
            "extra_body": {"messages": [{"role": m.role, "content": m.content} for m in messages]},
            "temperature": temperature,
            **({"stop": list(stop)} if stop else {}),
            **({"seed": seed} if seed is not None else {}),
        }
        backoff, failures = self._endpoint.backoff, {True: 0, False: 0}
        while True:
            limit = self._limit
            try:
                found = await self._ask(question, limit, max_tokens, messages, stop)
                self._unanswered = 0
                return found
            except _Status as e:
                if limit == "max_tokens" and e.status == 400 and "max_completion_tokens" in e.said:
                    self._limit = "max_completion_tokens"
                    continue
                fault = self._judged(e)
            except _Fault as e:
                fault = e
            failures[fault.is_answer] += 1
            if failures[fault.is_answer] >= backoff.tries:
                raise self._given_up(fault) from None
            await asyncio.sleep(backoff.delay(sum(failures.values()), fault.asked, self._rng))

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _ask(
        self,
        question: dict[str, Any],
        limit: str,
        max_tokens: int,
        messages: Sequence[Message],
        stop: Sequence[str],
    ) -> Answer:
        """One question. limit: the endpoint's name for `max_tokens`. Raises _Fault and _Status."""
        seconds, body = self._endpoint.timeout, bytearray()
        most = _FRAME_BYTES + _BYTES_A_TOKEN * max_tokens
        try:
            await asyncio.wait_for(self._read(question | {limit: max_tokens}, body, most), seconds)
            return read_completion(bytes(body), messages, stop, most)
        except asyncio.TimeoutError:
            raise _Fault(f"{'the answer does not end' if body else 'no answer'} in {seconds:g} s", bool(body)) from None
        except self._openai.APIConnectionError as e:
            if isinstance(e.__cause__, _Status):  # as clients before version 3 wrap it
                raise e.__cause__ from None
            raise _Fault(f"cannot be reached ({type(e.__cause__ or e).__name__})") from None
        except Unusable as e:
            raise _Fault(str(e), True) from None

    async def _read(self, question: dict[str, Any], body: bytearray, most: int) -> None:
        """Ask, and add what comes to `body`, at most so many bytes."""
        async with self._client.chat.completions.with_streaming_response.create(**question) as response:
            async for piece in _pieces(response.http_response):
                body += piece
                if len(body) > most:
                    raise _Fault(f"the answer is longer than {most} bytes", True)

    def _judged(self, error: _Status) -> _Fault:
        """A status as a fault to try again after. Raises PromptTooLong and ChatError for all others."""
        status, said = error.status, error.said
        if status >= 500 or (status in _AGAIN and "insufficient_quota" not in said):
            return _Fault(f"status {status}: {said}", asked=error.asked)
        if status in (400, 413, 422) and "context" in said.lower():
            raise PromptTooLong(f"{self._who}: {self._public(said)}: the episode is too long for it") from None
        raise ChatError(
            f"{self._who}: refuses with status {status} ({self._public(said) or 'no word'}): check --endpoint, --model "
            "and the key"
        ) from None

    def _given_up(self, fault: _Fault) -> ChatError:
        tries = self._endpoint.backoff.tries
        what = f"{self._who}: {self._public(str(fault))}, {tries} times"
        if fault.is_answer and self._unanswered < _HOPELESS:
            self._unanswered += 1
            return NoAnswer(f"{what}: no more tries")
        return ChatError(f"{what}: see that it runs and answers chats there, and give the same command again")

    @property
    def _who(self) -> str:
        return f"model {self._endpoint.model} at {self._endpoint.url or 'the OpenAI API'}"

    def _public(self, said: str) -> str:
        """What an endpoint said, short and without the key, should it repeat it."""
        key = self._endpoint.key
        return (said.replace(key, "***") if key else said)[:300]


async def _refuse(response: Any) -> None:
    """Raise _Status for whatever is no success, having read no more than a bounded piece of it."""
    if response.status_code == 200:
        return
    said = bytearray()
    with contextlib.suppress(_Fault):
        async for piece in _pieces(response):
            said += piece
            if len(said) >= _SAID:
                break
    await response.aclose()
    text = " ".join(said[:_SAID].decode("utf-8", "replace").split())
    raise _Status(response.status_code, text, retry_after(response.headers))


async def _pieces(response: Any) -> AsyncIterator[bytes]:
    """The body as it comes, never decompressed: that could make gigabytes of little."""
    try:
        async for piece in response.aiter_raw():
            yield piece
    except Exception as e:  # whichever HTTP library the client brings, what reading raises is a body cut short
        raise _Fault(f"the answer is cut ({type(e).__name__})", True) from None
