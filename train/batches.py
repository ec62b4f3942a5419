"""Batches of like length, and the micro-batches they are computed in, within a budget of tokens.

A batch is what one optimiser step learns from; a micro-batch is what memory holds at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from duomem.core.errors import TrainError
from duomem.train.dataset import EpisodeDataset, Example

_LENGTHS = 16
"""Rows are padded to a multiple of this: fewer shapes, so fewer kernels to make, for 1 % more to compute."""


def batches(dataset: EpisodeDataset, size: int, window: int, seed: int) -> Iterator[list[Example]]:
    """Endless batches of `size` examples of like length: every `window` batches' examples are sorted by
    length, cut into batches, and the batches shuffled. Raises TrainError if every example was left out.
    """
    rng = random.Random(f"{seed}/batches")
    pool: list[Example] = []
    epoch = 0
    while True:
        empty = True
        for example in dataset.epoch(epoch):
            empty = False
            pool.append(example)
            if len(pool) == size * window:
                yield from _bucketed(pool, size, rng)
                pool = []
        if empty:
            raise TrainError("no episode is short enough to train on: raise field max_tokens of the student config")
        epoch += 1


def _bucketed(pool: Sequence[Example], size: int, rng: random.Random) -> list[list[Example]]:
    ordered = sorted(pool, key=lambda e: len(e.tokens))
    cut = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    rng.shuffle(cut)
    return cut


def micro_batches(batch: Sequence[Example], budget: int, processes: int = 1) -> list[list[Example]]:
    """`batch` cut into micro-batches of at most `budget` tokens, padding included (a longer example stands
    alone), their number a multiple of `processes`: what is missing are micro-batches that teach nothing.
    """
    cut: list[list[Example]] = []
    for example in sorted(batch, key=lambda e: -len(e.tokens)):
        if cut and (len(cut[-1]) + 1) * padded_length(cut[-1]) <= budget:
            cut[-1].append(example)
        else:
            cut.append([example])
    idle = Example(batch[0].tokens[:2], (False, False))
    return cut + [[idle]] * (-len(cut) % processes)


def padded_length(examples: Sequence[Example]) -> int:
    """Tokens that each of `examples` is padded to when computed together: few lengths, for what is compiled for
    one serves the next.
    """
    return -(-max(len(e.tokens) for e in examples) // _LENGTHS) * _LENGTHS


def padded(micro: Sequence[Example]) -> int:
    """Tokens computed for a micro-batch, padding included."""
    return len(micro) * padded_length(micro)
