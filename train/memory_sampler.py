"""Which memories a training episode has in context: those that playing would find, corrupted ones, distractors, none.

Leave-one-out: never a memory that only the same game, or the same task in the same scene, supports; and lexicons that
never read a sentence of the scene (lexicon_folds.py), so that what is found is as often wrong as it is in play.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from duomem.core.trajectory import Trajectory
from duomem.device.world.worlds import load_world
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever
from duomem.train.synthetic.task import TASK_TYPE

_CANDIDATES = 4
"""One of this many nearest memories is drawn, so that epochs differ."""


class MemorySampler:
    """Draws memories for episodes. A synthetic task always has one of its own template."""

    def __init__(
        self,
        memories: Sequence[Memory],
        memory_prob: float,
        distractor_prob: float,
        corrupted_prob: float = 0.0,
        max_memories: int = 1,
        lexicon_of: Callable[[str], Lexicon | None] = lambda group: None,
        place_kinds: Callable[[str], tuple[str, ...]] | None = None,
    ) -> None:
        """memory_prob: chance of memories for the task. distractor_prob: of one of any task, shown if it is of another
        task type: the student learns to tell them apart. corrupted_prob: that a near one has a corrupted step: it
        learns to doubt them. A synthetic task's memory is never corrupted, nothing else tells how it goes.
        max_memories: one to so many are asked for. lexicon_of: the lexicon that finds them for an episode of a group;
        None for a group: by their own words. place_kinds: of an intro, see World; ALFWorld's if
        None.
        """
        self._memories = list(memories)
        self._memory_prob = memory_prob
        self._distractor_prob = distractor_prob
        self._corrupted_prob = corrupted_prob
        self._by_task_type: dict[str, list[Memory]] = defaultdict(list)
        for memory in self._memories:
            self._by_task_type[memory.task_type].append(memory)
        self._real = [m for m in self._memories if not m.task_type.startswith(TASK_TYPE)]
        self._max_memories = max_memories
        self._lexicon_of = lexicon_of
        self._place_kinds = place_kinds or load_world().place_kinds
        self._retrievers: dict[Lexicon | None, Retriever] = {}
        self._near: dict[tuple[str, str], list[list[Memory]]] = {}

    def draw(self, trajectory: Trajectory, rng: random.Random) -> list[Memory] | None:
        """Memories for one episode, in the order shown; None for a synthetic task without a memory of its template."""
        if trajectory.task_type.startswith(TASK_TYPE):
            own = [m for m in self._by_task_type[trajectory.task_type] if _is_other(m, trajectory)]
            if not own:
                return None
            drawn = [rng.choice(own)]
        else:
            drawn = self._found(trajectory, rng) if rng.random() < self._memory_prob else []
            if drawn and self._corrupted_prob and rng.random() < self._corrupted_prob:
                drawn[0] = self._corrupted(drawn[0], rng)
        if self._memories and self._distractor_prob and rng.random() < self._distractor_prob:
            distractor = rng.choice(self._memories)
            if distractor.task_type != trajectory.task_type and _is_other(distractor, trajectory):
                drawn.insert(rng.randint(0, len(drawn)), distractor)
        return drawn

    def _found(self, trajectory: Trajectory, rng: random.Random) -> list[Memory]:
        """What is found for an episode: one memory for each goal its sentence may mean, the likeliest first."""
        key = trajectory.game, trajectory.goal
        if key not in self._near:
            places = self._place_kinds(trajectory.intro)
            choices = self._retriever(trajectory).choices(
                trajectory.goal, self._max_memories, lambda m: _is_other(m, trajectory), places, _CANDIDATES
            )
            self._near[key] = [found for _, found in choices]
        near = self._near[key][: rng.randint(1, self._max_memories)]
        return [rng.choice(found) for found in near]

    def _retriever(self, trajectory: Trajectory) -> Retriever:
        lexicon = self._lexicon_of(trajectory.group)
        if lexicon not in self._retrievers:
            self._retrievers[lexicon] = Retriever(self._real, lexicon)
        return self._retrievers[lexicon]

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


def _is_other(memory: Memory, trajectory: Trajectory) -> bool:
    """Whether it tells of more than this game and the same task in the same scene."""
    return memory.without((trajectory.game,), (trajectory.group,)) is not None
