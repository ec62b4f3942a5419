"""Decoding is greedy; a withheld command gives way to what a search over all of them says; the session keeps up."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEngine, Opinion, random_opinion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duomem.device.agent.choice import BEGINNING
from duomem.device.agent.constrained_decoding import log_softmax
from duomem.device.agent.free_decoding import decode_command
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


def _by_search(tokenizer: PromptTokenizer, opinion: Opinion, withheld: set[str]) -> str:
    """Greedy; then, as long as it is withheld, on from the likeliest beginning that no command tried has."""
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
        if word not in withheld:
            return word


def _probability(tokenizer: PromptTokenizer, opinion: Opinion, text: str) -> float:
    """Of a command, its newline included, or of a beginning."""
    ids = tokenizer.encode(text.removesuffix(BEGINNING))
    ids = ids if text.endswith(BEGINNING) else [*ids, tokenizer.newline]
    return float(np.exp(sum(log_softmax(opinion((*CONTEXT, *ids[:i])))[ids[i]] for i in range(len(ids)))))


def _texts(candidates: list[tuple[str, float]]) -> list[str]:
    return [text for text, _ in candidates]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 999),
    withheld=st.sets(st.sampled_from(["".join(w) for w in itertools.product(WORDS, repeat=2)]), max_size=8),
)
def test_the_likeliest_branch_is_followed(tokenizer: PromptTokenizer, seed: int, withheld: set[str]) -> None:
    opinion = _words_of_two(tokenizer, seed)
    session = FakeEngine(opinion, 300).session()
    written = decode_command(session, session.prefill(CONTEXT), tokenizer, withheld)
    assert written.command == _by_search(tokenizer, opinion, withheld)
    assert (*session.tokens, *written.rest) == (*CONTEXT, *tokenizer.encode(written.command), tokenizer.newline)
    for text, probability in written.candidates:  # the command, those rejected, and beginnings
        assert probability == pytest.approx(_probability(tokenizer, opinion, text), rel=1e-4)
    assert {written.command, *(w for w in withheld if w in _texts(written.candidates))} == {
        text for text in _texts(written.candidates) if not text.endswith(BEGINNING)
    }


@pytest.mark.parametrize("seed", range(5))
def test_where_all_is_withheld_the_first_command_is_given(tokenizer: PromptTokenizer, seed: int) -> None:
    class Everything:
        def __contains__(self, command: object) -> bool:
            return True

    opinion = random_opinion(300, seed)
    first = FakeEngine(opinion, 300).session()
    again = FakeEngine(opinion, 300).session()
    greedy = decode_command(first, first.prefill(CONTEXT), tokenizer, ())
    written = decode_command(again, again.prefill(CONTEXT), tokenizer, Everything())
    assert written.command == greedy.command
    assert (*again.tokens, *written.rest) == (*first.tokens, *greedy.rest)
