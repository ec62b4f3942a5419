"""Training examples: won episodes as token ids, with another game's memory in context for a share of them.

Deterministic: the same trajectories, pack, seed and epoch give the same examples in the same order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duomem.base.errors import UserError
from duomem.base.trajectory import Trajectory
from duomem.device.prompt import PromptTokenizer
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retrieve import Retriever

_CANDIDATES = 4
"""One of this many nearest memories is drawn, so that epochs differ."""


@dataclass(frozen=True)
class Example:
    """tokens: ids [length]; student: for each token, whether the student writes it (and is trained on it)."""

    tokens: tuple[int, ...]
    student: tuple[bool, ...]


class EpisodeDataset:
    """Examples from won trajectories. Memories come from other games only: none of the same game and none
    of the same task in the same room (leave-one-out).
    """

    def __init__(self, trajectories: Sequence[Trajectory], memories: Sequence[Memory], tokenizer: PromptTokenizer,
                 memory_share: float, seed: int, max_tokens: int) -> None:
        """`memory_share`: chance that an example has a memory; `max_tokens`: longer examples are left out."""
        self._trajectories = [t for t in trajectories if t.won]
        self._tokenizer = tokenizer
        self._memory_share = memory_share
        self._seed = seed
        self._max_tokens = max_tokens
        retriever = Retriever(memories)
        self._near: list[list[Memory]] = [
            [m for _, m in retriever.search(
                t.goal, _CANDIDATES, lambda m, t=t: m.group != t.group and m.game != t.game)]  # type: ignore[misc]
            for t in self._trajectories]

    def __len__(self) -> int:
        return len(self._trajectories)

    def epoch(self, number: int) -> Iterator[Example]:
        """All examples once, shuffled for this epoch."""
        rng = random.Random(f"{self._seed}/{number}")
        order = list(range(len(self._trajectories)))
        rng.shuffle(order)
        for i in order:
            near = self._near[i]
            memories = [rng.choice(near).text()] if near and rng.random() < self._memory_share else []
            example = self._encode(self._trajectories[i], memories)
            if len(example.tokens) <= self._max_tokens:
                yield example

    def _encode(self, trajectory: Trajectory, memories: Sequence[str]) -> Example:
        tokens: list[int] = []
        student: list[bool] = []
        stumbles = {i for i, step in enumerate(trajectory.steps) if step.stumble}
        for segment in self._tokenizer.episode(trajectory.intro, trajectory.turns(), memories, stumbles):
            tokens.extend(segment.tokens)
            student.extend([segment.student] * len(segment.tokens))
        return Example(tuple(tokens), tuple(student))


def batches(dataset: EpisodeDataset, size: int, window: int, seed: int) -> Iterator[list[Example]]:
    """Endless batches of `size` examples of like length: every `window` batches' examples are sorted by
    length, cut into batches, and the batches shuffled. Raises UserError if every example was left out.
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
            raise UserError("no episode is short enough to train on: raise field max_tokens of the student config")
        epoch += 1


def _bucketed(pool: Sequence[Example], size: int, rng: random.Random) -> list[list[Example]]:
    ordered = sorted(pool, key=lambda e: len(e.tokens))
    cut = [ordered[i:i + size] for i in range(0, len(ordered), size)]
    rng.shuffle(cut)
    return cut
