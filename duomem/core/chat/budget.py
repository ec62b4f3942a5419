"""What asking a model may cost: tokens and money are counted, and no question is asked that could pass the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duomem.core.chat.completion import estimate_tokens
from duomem.core.chat.model import Answer, ChatModel, Message
from duomem.core.errors import ChatError

_MILLION = 1_000_000


class BudgetSpent(ChatError):
    """The next answer could cost more than what is left."""


@dataclass(frozen=True)
class Prices:
    """Of a million tokens, in any one currency. prompt: of those read; completion: of those written."""

    prompt: float = 0.0
    completion: float = 0.0

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Of so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / _MILLION


class Budget:
    """Counts what is spent against limits, None for none. prompt_tokens, completion_tokens: spent so far."""

    def __init__(self, prices: Prices | None = None, tokens: int | None = None, cost: float | None = None) -> None:
        """tokens: most, read and written together. cost: most money, at `prices`. Raises ChatError for a limit of cost
        without prices.
        """
        self.prices = prices or Prices()
        if cost is not None and self.prices == Prices():
            raise ChatError("--max-cost: at what price? Give --price-in and --price-out, per million tokens")
        self.prompt_tokens = self.completion_tokens = 0
        self._most_tokens = tokens
        self._most_cost = cost
        self._reserved = [0, 0]

    @property
    def tokens(self) -> int:
        """Spent so far."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float:
        """Spent so far."""
        return self.prices.cost(self.prompt_tokens, self.completion_tokens)

    def spend(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count tokens."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Set tokens aside for an answer that is waited for. Raises BudgetSpent if that could pass a limit."""
        prompt = self.prompt_tokens + self._reserved[0] + prompt_tokens
        completion = self.completion_tokens + self._reserved[1] + completion_tokens
        if self._most_tokens is not None and prompt + completion > self._most_tokens:
            raise BudgetSpent(
                f"--max-total-tokens {self._most_tokens}: {self.tokens} tokens are spent and another answer may pass it"
            )
        if self._most_cost is not None and self.prices.cost(prompt, completion) > self._most_cost:
            raise BudgetSpent(
                f"--max-cost {self._most_cost:g}: {self.cost:.4g} is spent and another answer may pass it"
            )
        self.release(-prompt_tokens, -completion_tokens)

    def release(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Give back what was set aside."""
        self._reserved[0] -= prompt_tokens
        self._reserved[1] -= completion_tokens


class BudgetedModel:
    """A ChatModel asked within a budget (keeps ChatModel)."""

    def __init__(self, model: ChatModel, budget: Budget) -> None:
        self._model = model
        self._budget = budget

    @property
    def name(self) -> str:
        """The model's."""
        return self._model.name

    async def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        """See ChatModel. Raises BudgetSpent too."""
        expected = estimate_tokens(messages)
        self._budget.reserve(expected, max_tokens)
        try:
            found = await self._model.answer(
                messages, max_tokens=max_tokens, temperature=temperature, stop=stop, seed=seed
            )
            self._budget.spend(found.prompt_tokens, found.completion_tokens)
        finally:
            self._budget.release(expected, max_tokens)
        return found

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()
