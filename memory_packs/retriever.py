"""Finding the memories for a task by its text alone, on the device, offline.

Nearness is the tf-idf cosine of words times the chance that the task is of the memory's kind (naive Bayes).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from duomem.memory_packs.memory import Memory

_WORD = re.compile(r"[a-z]+")


def words(text: str) -> list[str]:
    """Lower-case words of a task sentence, each once, in order."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


class Retriever:
    """An index over memories; building it takes milliseconds, so it is never stored."""

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

    def search(
        self,
        task: str,
        k: int = 1,
        keep: Callable[[Memory], bool] = lambda m: True,
    ) -> list[tuple[float, Memory]]:
        """The `k` memories nearest to `task` for which `keep` is true, as (nearness in (0, 1], memory),
        best first; equals in pack order. Fewer than `k` where nothing shares a word.
        """
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
        found: list[tuple[float, Memory]] = []
        for i in sorted(nearness, key=lambda i: (-round(nearness[i], 9), i)):
            if len(found) == k:
                break
            if keep(self._memories[i]):
                found.append((nearness[i], self._memories[i]))
        return found

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
