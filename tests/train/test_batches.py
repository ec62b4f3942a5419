"""Batches hold every example once an epoch; micro-batches hold every example of a batch, within the budget."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem.core.errors import UserError
from duomem.train.batches import batches, micro_batches, padded, padded_length
from duomem.train.dataset import EpisodeDataset, Example


def _example(length: int, number: int = 0) -> Example:
    return Example((number, *range(1, length)), (False,) * (length - 1) + (True,))


class _Fixed:
    """A dataset of these lengths, another order every epoch."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.examples = [_example(n, i) for i, n in enumerate(lengths)]

    def epoch(self, number: int) -> list[Example]:
        return self.examples[number:] + self.examples[:number]


def _batches(dataset: Any, size: int, window: int, seed: int, count: int) -> list[list[Example]]:
    return list(itertools.islice(batches(cast(EpisodeDataset, dataset), size, window, seed), count))


def test_batches_hold_every_example_once_an_epoch() -> None:
    dataset = _Fixed([5 + 7 * i % 40 for i in range(16)])
    first = _batches(dataset, 4, 2, 0, 8)
    assert [len(batch) for batch in first] == [4] * 8
    for epoch in (0, 1):
        flat = [e for batch in first[4 * epoch : 4 * epoch + 4] for e in batch]
        assert sorted(e.tokens for e in flat) == sorted(e.tokens for e in dataset.examples)
    assert first == _batches(dataset, 4, 2, 0, 8) != _batches(dataset, 4, 2, 1, 8)


def test_a_batch_larger_than_the_dataset() -> None:
    assert [len(b) for b in _batches(_Fixed([3, 4, 5]), 8, 4, 0, 3)] == [8, 8, 8]


def test_no_example_at_all() -> None:
    with pytest.raises(UserError, match="raise field max_tokens"):
        _batches(_Fixed([]), 4, 2, 0, 1)


@given(st.lists(st.integers(2, 90), min_size=1, max_size=12), st.integers(1, 200), st.integers(1, 3))
def test_micro_batches(lengths: list[int], budget: int, processes: int) -> None:
    batch = [_example(n, i) for i, n in enumerate(lengths)]
    cut = micro_batches(batch, budget, processes)
    assert len(cut) % processes == 0
    assert all(len(micro) == 1 or padded(micro) <= budget for micro in cut)
    learnt = [e for micro in cut for e in micro if any(e.loss_mask)]
    assert sorted(e.tokens for e in learnt) == sorted(e.tokens for e in batch)
    idle = [micro for micro in cut if not any(any(e.loss_mask) for e in micro)]
    assert len(idle) < processes and all(padded(micro) == 16 for micro in idle)


def test_like_lengths_share_a_micro_batch() -> None:
    """Longest first, as many as fit: 2 x 64 and 4 x 32, where 6 x 64 would be one third padding."""
    cut = micro_batches([_example(n, n) for n in (25, 50, 24, 49, 25, 23)], 128)
    assert [[len(e.tokens) for e in micro] for micro in cut] == [[50, 49], [25, 25, 24, 23]]
    assert list(map(padded, cut)) == [128, 128]


@given(st.lists(st.integers(2, 90), min_size=1, max_size=12))
def test_lengths_are_rounded_up_to_sixteen(lengths: list[int]) -> None:
    length = padded_length([_example(n) for n in lengths])
    assert length % 16 == 0 and 0 <= length - max(lengths) < 16
