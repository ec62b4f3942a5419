"""No answer is asked for that could pass a limit, and everything that was answered is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from duomem.core.chat.budget import Budget, BudgetedModel, BudgetSpent, Prices
from duomem.core.chat.model import Answer, Message
from duomem.core.errors import UserError

ASKED = [Message("user", "x" * 276)]
"""100 tokens, as estimated."""


class Parrot:
    """Answers with so many tokens, after the others have asked."""

    name = "parrot"

    def __init__(self, prompt: int, completion: int) -> None:
        self._counts = prompt, completion
        self.asked = 0

    async def answer(self, messages: Sequence[Message], **options: Any) -> Answer:
        self.asked += 1
        await asyncio.sleep(0)
        return Answer("look", *self._counts, "stop")

    async def close(self) -> None:
        self.asked = -1


def _ask(budget: Budget, parrot: Parrot, times: int, at_once: bool = False) -> list[Any]:
    async def ask() -> list[Any]:
        model = BudgetedModel(parrot, budget)
        asking = [model.answer(ASKED, max_tokens=50) for _ in range(times)]
        if at_once:
            return await asyncio.gather(*asking, return_exceptions=True)
        return [(await asyncio.gather(one, return_exceptions=True))[0] for one in asking]

    return asyncio.run(ask())


def test_without_limits_it_counts() -> None:
    budget = Budget(Prices(2, 10))
    _ask(budget, Parrot(90, 10), 3)
    assert (budget.prompt_tokens, budget.completion_tokens, budget.tokens) == (270, 30, 300)
    assert budget.cost == pytest.approx((270 * 2 + 30 * 10) / 1e6)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_limit_of_tokens_is_never_passed(at_once: bool) -> None:
    """Answers that are waited for count as their most: at once fewer are begun than one after the other."""
    budget, parrot = Budget(tokens=400), Parrot(90, 10)
    found = _ask(budget, parrot, 6, at_once)
    answered = [one for one in found if isinstance(one, Answer)]
    assert len(answered) == parrot.asked == (2 if at_once else 3) and budget.tokens == 100 * len(answered) <= 400
    assert all(isinstance(one, BudgetSpent) for one in found if one not in answered)
    with pytest.raises(BudgetSpent, match=r"--max-total-tokens 400: [23]00 tokens are spent"):
        budget.reserve(100, 200)


def test_a_limit_of_money() -> None:
    budget = Budget(Prices(1000, 10_000), cost=0.75)
    found = _ask(budget, Parrot(100, 10), 6)
    assert [isinstance(one, Answer) for one in found] == [True, False, False, False, False, False]
    with pytest.raises(BudgetSpent, match=r"--max-cost 0\.75: 0\.2 is spent"):
        budget.reserve(100, 50)
    with pytest.raises(UserError, match="at what price"):
        Budget(cost=1)


def test_what_failed_is_given_back() -> None:
    class Broken(Parrot):
        async def answer(self, messages: Sequence[Message], **options: Any) -> Answer:
            raise UserError("gone")

    budget = Budget(tokens=400)
    _ask(budget, Broken(0, 0), 9)
    assert budget.tokens == 0 and len(_ask(budget, Parrot(90, 10), 3)) == 3 and budget.tokens == 300
