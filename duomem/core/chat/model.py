"""The ChatModel contract: messages in, one answer out.

An OpenAI-compatible endpoint and a local model keep it; teachers and memory writers know only this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    text: without the stop sequence. prompt_tokens, completion_tokens: as the model counted them. finished: "stop" (it
    ended or wrote a stop sequence) or "length" (cut at max_tokens).
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finished: str


class ChatModel(Protocol):
    """A model that answers chats. Any number of answers may be awaited at once; a model that can batch them does."""

    @property
    def name(self) -> str:
        """Which model it is, as written into trajectories and packs."""
        ...

    async def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        """The model's next message. Raises UserError when no answer is to be had."""
        ...

    async def close(self) -> None:
        """Release connections or memory."""
        ...
