"""Which memories a training episode has in context: the right one, a noisy copy, none, a wrong one, or two of them.

Leave-one-out: never a memory of the same game, nor of the same task in the same room.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from duomem.core.trajectory import Trajectory
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever
from duomem.train.synthetic.task import FAMILY

_CANDIDATES = 4
"""One of this many nearest memories is drawn, so that epochs differ."""


class MemoryDraw:
    """Draws memories for episodes. A made-up task always has the memory of its own recipe: nobody can know it."""

    def __init__(self, memories: Sequence[Memory], right_share: float, wrong_share: float,
                 noisy_share: float = 0.0) -> None:
        """`right_share`: chance of a memory near to the task; `wrong_share`: of one of any task, shown if it is of
        another family, so that the student learns to tell them apart; `noisy_share`: of the near ones that have a
        step spoilt, so that it learns to doubt them, but a made-up task's, which nothing else tells.
        """
        self._memories = list(memories)
        self._right_share = right_share
        self._wrong_share = wrong_share
        self._noisy_share = noisy_share
        self._by_family: dict[str, list[Memory]] = defaultdict(list)
        for memory in self._memories:
            self._by_family[memory.family].append(memory)
        self._retriever = Retriever([m for m in self._memories if not m.family.startswith(FAMILY)])
        self._near: dict[str, list[Memory]] = {}

    def draw(self, trajectory: Trajectory, rng: random.Random) -> list[Memory] | None:
        """Memories for one episode, in the order shown; None where the episode cannot be told what it needs."""
        invented = trajectory.family.startswith(FAMILY)
        near = self._candidates(trajectory, invented)
        if invented and not near:
            return None
        drawn = [rng.choice(near)] if near and (invented or rng.random() < self._right_share) else []
        if drawn and not invented and self._noisy_share and rng.random() < self._noisy_share:
            drawn = [self._spoilt(drawn[0], rng)]
        if self._memories and self._wrong_share and rng.random() < self._wrong_share:
            wrong = rng.choice(self._memories)
            if wrong.family != trajectory.family and _is_other(wrong, trajectory):
                drawn.insert(rng.randint(0, len(drawn)), wrong)
        return drawn

    def _spoilt(self, memory: Memory, rng: random.Random) -> Memory:
        """A step of it left out, exchanged with the next, or replaced by one of another memory."""
        steps = list(memory.steps)
        i = rng.randrange(len(steps))
        kind = rng.randrange(3)
        if kind == 0 and len(steps) > 1:
            del steps[i]
        elif kind == 1 and i + 1 < len(steps):
            steps[i:i + 2] = steps[i + 1], steps[i]
        else:
            steps[i] = rng.choice(rng.choice(self._memories).steps)
        return replace(memory, steps=tuple(steps))

    def _candidates(self, trajectory: Trajectory, invented: bool) -> list[Memory]:
        """The nearest memories of other games; of a made-up task all of its recipe."""
        if invented:
            return [m for m in self._by_family[trajectory.family] if _is_other(m, trajectory)]
        key = trajectory.game
        if key not in self._near:
            self._near[key] = [m for _, m in self._retriever.search(trajectory.goal, _CANDIDATES,
                                                                       lambda m: _is_other(m, trajectory))]
        return self._near[key]


def _is_other(memory: Memory, trajectory: Trajectory) -> bool:
    """Whether it tells neither of this game nor of the same task in the same room."""
    return memory.group != trajectory.group and memory.game != trajectory.game
