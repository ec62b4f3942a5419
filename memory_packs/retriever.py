"""Finding the memories for a goal sentence, on the device, offline: by meaning with a lexicon, else by words.

By words, nearness is the tf-idf cosine times the chance that the task is of the memory's type (naive Bayes).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from itertools import islice

from duomem.memory_packs.lexicon import Lexicon, Triple
from duomem.memory_packs.memory import Memory

NEAR_TIE = 0.1
"""A memory is shown beside the best one if its goal is at least this times as likely."""
MAX_MEMORIES = 3
"""Most memories shown, unless told otherwise. With these two, 96 % of held-out sentences of train games have their goal
among the memories shown, of which there are 1.4 on average.
"""

_WORD = re.compile(r"[a-z]+")


def words(text: str) -> list[str]:
    """Lower-case words of a task sentence, each once, in order."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


class Retriever:
    """An index over memories; building it takes milliseconds, so it is never stored."""

    def __init__(self, memories: Sequence[Memory], lexicon: Lexicon | None = None) -> None:
        """lexicon: how people call what the memories are about; without one, words must be the memories' own."""
        self._index: _LexiconIndex | _WordIndex = _LexiconIndex(memories, lexicon) if lexicon else _WordIndex(memories)

    def search(
        self,
        task: str,
        k: int = 1,
        keep: Callable[[Memory], bool] = lambda m: True,
        places: Collection[str] = (),
        near_tie: float = NEAR_TIE,
    ) -> list[tuple[float, Memory]]:
        """At most `k` memories for the goal sentence `task` for which `keep` is true, as (nearness in (0, 1], memory),
        best first; equals in pack order.

        With a lexicon: one for each goal that the sentence may mean, in the order of their chances, as long as these
        are at least `near_tie` times the best. Without: the nearest by their own words, fewer than `k` where nothing
        shares one. places: kinds of receptacles in the room, if known: a goal's target is one of them.
        """
        return [(nearness, found[0]) for nearness, found in self.choices(task, k, keep, places, near_tie=near_tie)]

    def choices(
        self,
        task: str,
        k: int = 1,
        keep: Callable[[Memory], bool] = lambda m: True,
        places: Collection[str] = (),
        most: int = 1,
        near_tie: float = NEAR_TIE,
    ) -> list[tuple[float, list[Memory]]]:
        """As `search`, with up to `most` memories of each goal, any of which would do."""
        return self._index.choices(task, k, keep, places, most, near_tie)


class _LexiconIndex:
    """Memories by what their goals are; a lexicon tells which of these a sentence means."""

    def __init__(self, memories: Sequence[Memory], lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._by_goal: dict[Triple, list[Memory]] = defaultdict(list)
        for memory in memories:
            self._by_goal[memory.triple].append(memory)

    def choices(
        self, task: str, k: int, keep: Callable[[Memory], bool], places: Collection[str], most: int, near_tie: float
    ) -> list[tuple[float, list[Memory]]]:
        found: list[tuple[float, list[Memory]]] = []
        for chance, goal in self._lexicon.rank(task, self._by_goal, places):
            if len(found) == k or (found and chance < near_tie * found[0][0]):
                break
            kept = list(islice(filter(keep, self._by_goal[goal]), most))
            if kept and chance > 0:
                found.append((chance, kept))
        return found


class _WordIndex:
    """Memories by the words of their titles: the tf-idf cosine times the chance of their task type."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self._memories = list(memories)
        documents = [words(m.task) for m in self._memories]
        frequency = Counter(term for terms in documents for term in terms)
        self._idf = {t: math.log(1 + len(documents) / n) for t, n in frequency.items()}
        self._postings: dict[str, list[int]] = defaultdict(list)
        for i, terms in enumerate(documents):
            for term in terms:
                self._postings[term].append(i)
        self._norms = [self._norm(terms) for terms in documents]
        self._task_types = _TaskTypeModel([m.task_type for m in self._memories], documents)

    def choices(
        self, task: str, k: int, keep: Callable[[Memory], bool], places: Collection[str], most: int, near_tie: float
    ) -> list[tuple[float, list[Memory]]]:
        terms = [t for t in words(task) if t in self._idf]
        norm = self._norm(terms)
        chance = self._task_types.posterior(terms)
        nearness: dict[int, float] = defaultdict(float)
        for term in terms:
            square = self._idf[term] ** 2
            for i in self._postings[term]:
                nearness[i] += square
        for i in nearness:
            nearness[i] *= chance[self._memories[i].task_type] / (self._norms[i] * norm)
        order = sorted(nearness, key=lambda i: (-round(nearness[i], 9), i))
        kept = list(islice((i for i in order if keep(self._memories[i])), k * most))
        rows = [kept[n : n + most] for n in range(0, len(kept), most)]
        return [(nearness[row[0]], [self._memories[i] for i in row]) for row in rows]

    def _norm(self, terms: Sequence[str]) -> float:
        return math.sqrt(sum(self._idf[t] ** 2 for t in terms)) or 1.0


class _TaskTypeModel:
    """Bernoulli naive Bayes from the words of a task to its task type: absent words count too, which is what
    tells "put a bowl in fridge" from "put a clean bowl in fridge".
    """

    def __init__(self, task_types: Sequence[str], documents: Sequence[Sequence[str]]) -> None:
        self._size = Counter(task_types)
        self._with: dict[str, Counter[str]] = defaultdict(Counter)
        for task_type, terms in zip(task_types, documents, strict=True):
            for term in terms:
                self._with[term][task_type] += 1
        self._all_absent = {
            f: math.log(n) + sum(math.log(1 - self._chance(t, f)) for t in self._with) for f, n in self._size.items()
        }

    def posterior(self, terms: Sequence[str]) -> dict[str, float]:
        """P(task type | exactly these words of the vocabulary are present)."""
        logs = dict(self._all_absent)
        for task_type in logs:
            for term in terms:
                p = self._chance(term, task_type)
                logs[task_type] += math.log(p) - math.log(1 - p)
        top = max(logs.values(), default=0.0)
        total = sum(math.exp(v - top) for v in logs.values())
        return {f: math.exp(v - top) / total for f, v in logs.items()}

    def _chance(self, term: str, task_type: str) -> float:
        return (self._with[term][task_type] + 0.5) / (self._size[task_type] + 1)
