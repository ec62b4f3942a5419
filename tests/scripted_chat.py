"""A chat model without a model: a function answers. It keeps the ChatModel contract and counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from duomem.core.chat.model import Answer, Message
from duomem.core.errors import UserError

Reply = Callable[[Sequence[Message]], str]


class ScriptedModel:
    """reply: the text of an answer, from the messages. name: see ChatModel. delay: seconds that an answer takes.
    fails_after: how many answers are given before none is.

    asked: the messages of each question; most_at_once: most questions that waited at one time; closed: how often.
    """

    def __init__(
        self,
        reply: Reply,
        name: str = "scripted",
        delay: float = 0.0,
        fails_after: int | None = None,
        cut: bool = False,
    ) -> None:
        self.reply, self.name, self._delay, self._fails_after = reply, name, delay, fails_after
        self._finished = "length" if cut else "stop"
        self.asked: list[tuple[Message, ...]] = []
        self.most_at_once = self._at_once = self.closed = 0

    async def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        if self._fails_after is not None and len(self.asked) >= self._fails_after:
            raise UserError("http://127.0.0.1:9/v1: gave no answer")
        self.asked.append(tuple(messages))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(self._delay)
        self._at_once -= 1
        text = self.reply(messages)
        return Answer(text, len(messages[-1].content.split()), len(text.split()), self._finished)

    async def close(self) -> None:
        self.closed += 1
