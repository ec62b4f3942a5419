"""Training examples: won episodes as token ids, with the memories in context that memory_sampler.py draws.

Deterministic: the same trajectories, memories, seed and epoch give the same examples in the same order.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duomem.core.trajectory import Trajectory
from duomem.device.agent.prompt import PromptTokenizer
from duomem.train.memory_sampler import MemorySampler


@dataclass(frozen=True)
class Example:
    """tokens: ids [length]; loss_mask: for each token, whether the student writes it, and is trained on it."""

    tokens: tuple[int, ...]
    loss_mask: tuple[bool, ...]

    def actions(self) -> list[int]:
        """How many tokens each of the student's actions has, in order."""
        return [len(list(run)) for is_target, run in itertools.groupby(self.loss_mask) if is_target]


class EpisodeDataset:
    """Examples from won trajectories in which a step is there to learn."""

    def __init__(
        self,
        trajectories: Sequence[Trajectory],
        sampler: MemorySampler,
        tokenizer: PromptTokenizer,
        seed: int,
        max_tokens: int,
    ) -> None:
        """sampler: gives each episode its memories. max_tokens: longer examples are left out."""
        self._trajectories = [t for t in trajectories if t.won and not all(s.is_noise for s in t.steps)]
        self._sampler = sampler
        self._tokenizer = tokenizer
        self._seed = seed
        self._max_tokens = max_tokens

    def __len__(self) -> int:
        return len(self._trajectories)

    def epoch(self, number: int) -> Iterator[Example]:
        """All examples once, shuffled for this epoch."""
        rng = random.Random(f"{self._seed}/{number}")
        order = list(range(len(self._trajectories)))
        rng.shuffle(order)
        for i in order:
            memories = self._sampler.draw(self._trajectories[i], rng)
            if memories is not None:
                example = self._encode(self._trajectories[i], [m.text() for m in memories])
                if len(example.tokens) <= self._max_tokens:
                    yield example

    def _encode(self, trajectory: Trajectory, memories: Sequence[str]) -> Example:
        tokens: list[int] = []
        loss_mask: list[bool] = []
        noise_steps = {i for i, step in enumerate(trajectory.steps) if step.is_noise}
        for segment in self._tokenizer.episode(trajectory.intro, trajectory.turns(), memories, noise_steps):
            tokens.extend(segment.tokens)
            loss_mask.extend([segment.is_target] * len(segment.tokens))
        return Example(tuple(tokens), tuple(loss_mask))
