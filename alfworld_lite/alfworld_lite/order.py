"""The order in which ALFWorld plays games: numpy's RandomState.shuffle, without numpy.

The same seed gives the same games as in the official engine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def shuffled_cycle(items: Sequence[T], seed: int) -> Iterator[T]:
    """Every item in an order drawn by `seed`, from 0 to 2**32 - 1, then all of them in a new order, without end.

    Raises ValueError if there are none, or for another seed.
    """
    if not items:
        raise ValueError("there are no games to play")
    rng, order = random.Random(), list(items)
    rng.setstate((3, (*_mersenne_twister(seed), 624), None))
    while True:
        _shuffle(order, rng)
        yield from order


def _mersenne_twister(seed: int) -> list[int]:
    """The 624 words of its state, as numpy seeds it; Python's `random.seed` mixes them otherwise."""
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed {seed} is not from 0 to 2**32 - 1")
    state = [seed]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    return state


def _shuffle(items: list[T], rng: random.Random) -> None:
    for i in range(len(items) - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        while (j := rng.getrandbits(32) & mask) > i:
            pass
        items[i], items[j] = items[j], items[i]
