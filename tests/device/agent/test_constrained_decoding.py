"""`choose` is the argmax of `score`, and `score` is what one gets by running every continuation alone."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeEngine, FakeSession, random_opinion
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem.device.agent.constrained_decoding import choose, common_prefix, log_softmax, score

CONTEXT = (3, 1, 2)
CONTINUATIONS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=9)


def _start(seed: int, levels: int | None) -> tuple[FakeSession, np.ndarray]:
    session = FakeEngine(random_opinion(5, seed, levels), 5).session()
    return session, session.prefill(CONTEXT)


def _one_by_one(seed: int, levels: int | None, continuations: list[list[int]]) -> list[float]:
    totals = []
    for continuation in continuations:
        session, logits = _start(seed, levels)
        total = 0.0
        for token in continuation:
            total += float(log_softmax(logits)[token])
            logits = session.decode(token)
        totals.append(total)
    return totals


@settings(max_examples=300, deadline=None)
@given(CONTINUATIONS, st.integers(0, 999), st.sampled_from([None, 1, 2]))
def test_choose_score_and_brute_force_agree(continuations: list[list[int]], seed: int, levels: int | None) -> None:
    expected = _one_by_one(seed, levels, continuations)
    session, logits = _start(seed, levels)
    assert score(session, logits, continuations).tolist() == expected
    assert session.tokens == CONTEXT
    choice = choose(session, logits, continuations)
    assert choice.index == int(np.argmax(expected))  # of equals, the first
    assert choice.log_likelihood == expected[choice.index]
    chosen = continuations[choice.index]
    assert 0 <= choice.cached <= len(chosen)
    assert session.tokens == (*CONTEXT, *chosen[: choice.cached])
    begun = [continuations[index][:n] for index, n, _ in choice.others]
    assert [log_likelihood for *_, log_likelihood in choice.others] == _one_by_one(seed, levels, begun)


def test_a_greedy_walk_would_choose_another() -> None:
    """The likeliest first token leads to the less likely whole: the search has to come back."""
    first = np.log([0.5, 0.4, 0.1]).astype(np.float32)
    after = {0: np.log([0.34, 0.33, 0.33]), 1: np.log([0.9, 0.05, 0.05]), 2: np.zeros(3)}
    session = FakeEngine(lambda tokens: after[tokens[-1]].astype(np.float32), 3).session()
    session.prefill([2])
    choice = choose(session, first, [[0, 0], [0, 1], [1, 0]])
    assert choice.index == 2 and choice.log_likelihood == pytest.approx(np.log(0.4 * 0.9), abs=1e-6)


def test_a_prefix_is_never_less_likely_than_what_continues_it() -> None:
    session, logits = _start(0, None)
    assert choose(session, logits, [[1, 2, 3], [1, 2], [1]]).index == 2


def test_one_continuation_needs_no_search() -> None:
    session, logits = _start(0, None)
    assert choose(session, logits, [[4, 4, 4]]).index == 0


@pytest.mark.parametrize("continuations", [[], [[]], [[1], []]])
@pytest.mark.parametrize("function", [choose, score])
def test_nothing_to_choose_from(function: object, continuations: list[list[int]]) -> None:
    session, logits = _start(0, None)
    with pytest.raises(ValueError, match="at least one continuation"):
        function(session, logits, continuations)  # type: ignore[operator]


def test_log_softmax_of_large_logits() -> None:
    assert np.exp(log_softmax(np.array([1e30, 1e30, -1e30], np.float32))).tolist() == [0.5, 0.5, 0.0]
    logits = np.array([1.0, 2.0, 3.0], np.float32)
    assert np.exp(log_softmax(logits)).sum() == pytest.approx(1) and logits.tolist() == [1, 2, 3]


def test_common_prefix() -> None:
    assert [common_prefix(a, b) for a, b in (("", "a"), ("ab", "ac"), ("ab", "ab"), ("ab", "abc"))] == [0, 1, 2, 2]
