"""A language model as a policy: what it is shown, what it answered, and what that cost."""

from __future__ import annotations

from dataclasses import dataclass

from duomem.core.chat.faults import PromptTooLong
from duomem.core.chat.model import ChatModel, Message
from duomem.device.agent.policy import AsyncPolicy
from duomem.device.engine.session import ContextFull
from duomem.device.world.env import Observation
from duomem.train.teachers.llm.reply import read_reply
from duomem.train.teachers.llm.style import Style


@dataclass(frozen=True)
class Asking:
    """How a model is asked for a command. style: the prompt. temperature: 0 for the likeliest answer. max_tokens: most
    of an answer.
    """

    style: Style
    temperature: float = 0.0
    max_tokens: int = 512


class LlmPolicy(AsyncPolicy):
    """One episode as a chat that only grows. answers, prompt_tokens, completion_tokens: so far."""

    def __init__(self, model: ChatModel, asking: Asking, first: Observation, seed: int) -> None:
        """first: what the game's reset gave. seed: of the model's draws, where it draws at all."""
        self._model = model
        self._asking = asking
        self._seed = seed if asking.temperature > 0 else None
        self._messages = [*asking.style.opening(), self._seen(first, True)]
        self.answers = self.prompt_tokens = self.completion_tokens = 0

    async def act(self, observation: Observation, /) -> str:
        """The model's next command, whatever it answers. Raises PromptTooLong where not even the first one has room,
        which is a model too small for the style rather than an episode too long.
        """
        asking = self._asking
        try:
            answer = await self._model.answer(
                self._messages,
                max_tokens=asking.max_tokens,
                temperature=asking.temperature,
                stop=asking.style.stop,
                seed=self._seed,
            )
        except PromptTooLong as e:
            if not self.answers:
                raise
            raise ContextFull(str(e)) from None
        self.answers += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self._messages.append(Message("assistant", answer.text))
        reply = read_reply(answer.text)
        self.thought = reply.thought
        return reply.command

    def observe(self, command: str, observation: Observation, /) -> None:
        """Show what the command brought."""
        self._messages.append(self._seen(observation))

    def _seen(self, observation: Observation, first: bool = False) -> Message:
        return self._asking.style.seen(observation.text, observation.admissible, first)
