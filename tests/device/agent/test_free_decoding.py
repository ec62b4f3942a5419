"""Writing is greedy; where that is tabu it is what a search over all commands says, and the session knows its place."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEngine, Opinion, random_opinion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duomem.device.agent.constrained_decoding import log_softmax
from duomem.device.agent.free_decoding import write
from duomem.device.agent.prompt import PromptTokenizer

CONTEXT = (3, 1, 2)
WORDS = "abc"


@pytest.fixture(scope="module")
def tokenizer(byte_tokenizer: Path) -> PromptTokenizer:
    return PromptTokenizer(byte_tokenizer)


def _words_of_two(tokenizer: PromptTokenizer, seed: int) -> Opinion:
    """A student that writes two of three letters and a newline: nine commands."""
    base = random_opinion(300, seed)
    letters = [tokenizer.encode(letter)[0] for letter in WORDS]

    def opinion(tokens: tuple[int, ...]) -> np.ndarray:
        allowed = letters if len(tokens) < len(CONTEXT) + 2 else [tokenizer.newline]
        logits = np.full(300, -1e9, np.float32)
        logits[allowed] = base(tokens)[allowed]
        return logits

    return opinion


def _by_hand(tokenizer: PromptTokenizer, opinion: Opinion, action_filter: set[str]) -> str:
    """Greedy; then, as long as it is tabu, on from the likeliest beginning that no command tried has."""
    tried: list[str] = []
    while True:
        begun: list[tuple[float, str]] = []
        for n in range(3):
            for word in map("".join, itertools.product(WORDS, repeat=n)):
                if n and not any(t.startswith(word) for t in tried) and any(t.startswith(word[:-1]) for t in tried):
                    ids = tokenizer.encode(word)
                    steps = (float(log_softmax(opinion((*CONTEXT, *ids[:i])))[ids[i]]) for i in range(n))
                    begun.append((sum(steps), word))
        word = max(begun)[1] if tried else ""
        while len(word) < 2:
            logits = opinion((*CONTEXT, *tokenizer.encode(word))) if word else opinion(CONTEXT)
            word += max(WORDS, key=lambda letter: logits[tokenizer.encode(letter)[0]])
        tried.append(word)
        if word not in action_filter:
            return word


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 999),
    action_filter=st.sets(st.sampled_from(["".join(w) for w in itertools.product(WORDS, repeat=2)]), max_size=8),
)
def test_the_likeliest_turning_is_followed(tokenizer: PromptTokenizer, seed: int, action_filter: set[str]) -> None:
    opinion = _words_of_two(tokenizer, seed)
    session = FakeEngine(opinion, 300).session()
    command, pending = write(session, session.prefill(CONTEXT), tokenizer, action_filter)
    assert command == _by_hand(tokenizer, opinion, action_filter)
    assert (*session.tokens, *pending) == (*CONTEXT, *tokenizer.encode(command), tokenizer.newline)


@pytest.mark.parametrize("seed", range(5))
def test_a_student_to_whom_all_is_tabu_has_its_first_word(tokenizer: PromptTokenizer, seed: int) -> None:
    class Everything:
        def __contains__(self, command: object) -> bool:
            return True

    opinion = random_opinion(300, seed)
    first = FakeEngine(opinion, 300).session()
    again = FakeEngine(opinion, 300).session()
    greedy, held = write(first, first.prefill(CONTEXT), tokenizer, ())
    command, pending = write(again, again.prefill(CONTEXT), tokenizer, Everything())
    assert command == greedy and (*again.tokens, *pending) == (*first.tokens, *held)
