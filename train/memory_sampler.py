"""Which memories a training episode has in context: one for the task, a corrupted one, a distractor, two or none.

Leave-one-out: never a memory of the same game, nor of the same task in the same scene.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from duomem.core.trajectory import Trajectory
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever
from duomem.train.synthetic.task import TASK_TYPE

_CANDIDATES = 4
"""One of this many nearest memories is drawn, so that epochs differ."""


class MemorySampler:
    """Draws memories for episodes. A synthetic task always has one of its own template."""

    def __init__(
        self, memories: Sequence[Memory], memory_prob: float, distractor_prob: float, corrupted_prob: float = 0.0
    ) -> None:
        """memory_prob: chance of a memory near to the task. distractor_prob: of one of any task, shown if it is of
        another task type: the student learns to tell them apart. corrupted_prob: that a near one has a corrupted
        step: it learns to doubt them. A synthetic task's memory is never corrupted, nothing else tells how it goes.
        """
        self._memories = list(memories)
        self._memory_prob = memory_prob
        self._distractor_prob = distractor_prob
        self._corrupted_prob = corrupted_prob
        self._by_task_type: dict[str, list[Memory]] = defaultdict(list)
        for memory in self._memories:
            self._by_task_type[memory.task_type].append(memory)
        self._retriever = Retriever([m for m in self._memories if not m.task_type.startswith(TASK_TYPE)])
        self._near: dict[str, list[Memory]] = {}

    def draw(self, trajectory: Trajectory, rng: random.Random) -> list[Memory] | None:
        """Memories for one episode, in the order shown; None for a synthetic task without a memory of its template."""
        synthetic = trajectory.task_type.startswith(TASK_TYPE)
        near = self._candidates(trajectory, synthetic)
        if synthetic and not near:
            return None
        drawn = [rng.choice(near)] if near and (synthetic or rng.random() < self._memory_prob) else []
        if drawn and not synthetic and self._corrupted_prob and rng.random() < self._corrupted_prob:
            drawn = [self._corrupted(drawn[0], rng)]
        if self._memories and self._distractor_prob and rng.random() < self._distractor_prob:
            distractor = rng.choice(self._memories)
            if distractor.task_type != trajectory.task_type and _is_other(distractor, trajectory):
                drawn.insert(rng.randint(0, len(drawn)), distractor)
        return drawn

    def _corrupted(self, memory: Memory, rng: random.Random) -> Memory:
        """The memory with a step left out, exchanged with the next, or replaced by one of another memory."""
        steps = list(memory.steps)
        i = rng.randrange(len(steps))
        kind = rng.randrange(3)
        if kind == 0 and len(steps) > 1:
            del steps[i]
        elif kind == 1 and i + 1 < len(steps):
            steps[i : i + 2] = steps[i + 1], steps[i]
        else:
            steps[i] = rng.choice(rng.choice(self._memories).steps)
        return replace(memory, steps=tuple(steps))

    def _candidates(self, trajectory: Trajectory, synthetic: bool) -> list[Memory]:
        """The nearest memories of other games; for a synthetic task all of its template."""
        if synthetic:
            return [m for m in self._by_task_type[trajectory.task_type] if _is_other(m, trajectory)]
        key = trajectory.game
        if key not in self._near:
            self._near[key] = [
                m for _, m in self._retriever.search(trajectory.goal, _CANDIDATES, lambda m: _is_other(m, trajectory))
            ]
        return self._near[key]


def _is_other(memory: Memory, trajectory: Trajectory) -> bool:
    """Whether it tells neither of this game nor of the same task in the same scene."""
    return memory.group != trajectory.group and memory.game != trajectory.game
