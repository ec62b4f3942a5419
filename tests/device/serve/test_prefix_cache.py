"""Kept prompts: the longest beginning is found, few sessions stay open, and logits are the same bits in any order."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEngine, random_opinion

from duomem.device.engine.session import Engine
from duomem.device.serve.prefix_cache import PrefixCache, Prompt

OPINION = random_opinion(50)


def _logits(prompt: Prompt) -> np.ndarray:
    pieces = prompt.prefill()
    while True:
        try:
            next(pieces)
        except StopIteration as e:
            return e.value


def _reused(cache: PrefixCache, tokens: list[int]) -> int:
    with cache.prompt(tokens) as prompt:
        assert np.array_equal(_logits(prompt), OPINION(tuple(tokens)))
        assert prompt.session.length == len(tokens)
        prompt.session.decode(3)
        return prompt.reused


def _cache(kept: int) -> tuple[PrefixCache, FakeEngine]:
    engine = FakeEngine(OPINION, 50, max_sessions=kept + 1)
    return PrefixCache(engine, kept, 4), engine


@pytest.mark.parametrize(("shared", "reused"), [(0, 0), (3, 0), (4, 4), (11, 8), (12, 12), (13, 12)])
def test_whole_pieces_are_reused(shared: int, reused: int) -> None:
    cache, engine = _cache(1)
    first = [1] * 14
    assert _reused(cache, first) == 0
    second = [*first[:shared], *[2] * 6]
    assert _reused(cache, second) == reused
    assert len(engine.open) == 1


@pytest.mark.parametrize("n", [1, 4, 5, 8])
def test_the_last_token_always_runs(n: int) -> None:
    cache, _ = _cache(2)
    assert _reused(cache, [1] * n) == 0
    assert _reused(cache, [1] * n) == max(0, n - 1) // 4 * 4


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_the_longest_unused_is_forgotten(kept: int) -> None:
    cache, engine = _cache(kept)
    for i in range(6):
        _reused(cache, [i] * 9)
        assert len(engine.open) == min(kept, i + 1)
    assert [i for i in reversed(range(6)) if _reused(cache, [i] * 9)] == [5, 4, 3][:kept]


def test_a_beginning_is_not_kept_beside_the_whole() -> None:
    cache, engine = _cache(3)
    for n in (9, 21):
        _reused(cache, [1] * n)
    assert len(engine.open) == 1 and _reused(cache, [1] * 30) == 20


def test_a_long_session_is_not_given_away_for_a_short_beginning() -> None:
    cache, _ = _cache(2)
    _reused(cache, [1] * 41)
    assert _reused(cache, [*[1] * 16, *[2] * 30]) == 0, "there is room for another"
    assert _reused(cache, [1] * 41) == 40
    assert _reused(cache, [*[1] * 16, *[3] * 30]) == 16, "the oldest has to go, and begins alike"
    assert _reused(cache, [1] * 41) == 40


def test_a_prompt_that_is_given_up_is_kept_as_far_as_it_ran() -> None:
    cache, engine = _cache(2)

    def work() -> Iterator[None]:
        with cache.prompt([1] * 20) as prompt:
            yield from prompt.prefill()

    pauses = work()
    next(pauses)
    next(pauses)
    assert isinstance(pauses, Generator)
    pauses.close()
    assert len(engine.open) == 1 and _reused(cache, [1] * 20) == 8


def test_a_session_that_failed_is_not_kept() -> None:
    cache, engine = _cache(2)
    with pytest.raises(RuntimeError), cache.prompt([1] * 20) as prompt:
        _logits(prompt)
        raise RuntimeError
    assert not engine.open


def test_logits_are_the_same_bits_whatever_was_run_before(tiny_bundle: Path) -> None:
    from duomem.device.engine.tvm_engine import TvmEngine

    engine: Engine = TvmEngine.load(tiny_bundle, max_sessions=4)
    rng = random.Random(1)
    stem = [rng.randrange(300) for _ in range(150)]
    prompts = [[*stem[: rng.randrange(1, 150)], *(rng.randrange(300) for _ in range(9))] for _ in range(12)]

    def logits(cache: PrefixCache, tokens: list[int]) -> np.ndarray:
        with cache.prompt(tokens) as prompt:
            return np.stack([_logits(prompt), *(prompt.session.decode(token) for token in (1, 2, 3))])

    fresh = [logits(PrefixCache(engine, 0), prompt) for prompt in prompts]
    cache = PrefixCache(engine, 3)
    for i in [*range(12), *rng.sample(range(12), 12)]:
        assert np.array_equal(logits(cache, prompts[i]), fresh[i])
    session = engine.session()
    for prompt, expected in zip(prompts, fresh, strict=True):
        np.testing.assert_allclose(session.prefill(prompt), expected[0], atol=1e-4)
        session.rollback(len(prompt))
    session.close()
