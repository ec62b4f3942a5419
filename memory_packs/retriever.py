"""Finding the memories for a goal sentence, on the device, offline: by meaning with a lexicon, else by words.

By words, nearness is the tf-idf cosine times the chance that the task is of the memory's type (naive Bayes).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import heappop, heappush, heapreplace
from itertools import islice
from typing import NamedTuple

from duomem.memory_packs.lexicon import Lexicon, Ranker, Triple
from duomem.memory_packs.memory import Memory

NEAR_TIE = 0.1
"""A memory is shown beside the best one if its goal is at least this times as likely."""
MAX_MEMORIES = 3
"""Most memories shown, unless told otherwise. With these two, 96 % of held-out sentences of train games have their goal
among the memories shown, of which there are 1.4 on average.
"""

_WORD = re.compile(r"[a-z]+")
_DIGITS = 9
"""Decimals to which memories that are equally near agree."""
_COMMON = 8
"""A word is common from one in so many memories on."""
_ABOVE = 1 + 1e-9
"""How much rounding may bring a cosine above its bound."""


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
        self._by_goal: dict[Triple, list[Memory]] = defaultdict(list)
        for memory in memories:
            self._by_goal[memory.triple].append(memory)
        self._ranker = Ranker(lexicon, self._by_goal)

    def choices(
        self, task: str, k: int, keep: Callable[[Memory], bool], places: Collection[str], most: int, near_tie: float
    ) -> list[tuple[float, list[Memory]]]:
        found: list[tuple[float, list[Memory]]] = []
        for chance, goal in self._ranker.ranked(task, places):
            if len(found) == k or (found and chance < near_tie * found[0][0]):
                break
            kept = list(islice(filter(keep, self._by_goal[goal]), most))
            if kept and chance > 0:
                found.append((chance, kept))
        return found


class _Title(NamedTuple):
    """Memories of one task type, by its number, whose titles have the same words.

    norm: of these words. memories: their numbers, ascending.
    """

    task_type: int
    words: frozenset[str]
    norm: float
    memories: list[int]


class _WordIndex:
    """Memories by the words of their titles: the tf-idf cosine times the chance of their task type."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self._memories = list(memories)
        documents = [words(m.task) for m in self._memories]
        frequency = Counter(term for terms in documents for term in terms)
        self._squares = {t: math.log(1 + len(documents) / n) ** 2 for t, n in frequency.items()}
        self._rare = {t for t, n in frequency.items() if n * _COMMON <= len(documents)}
        number = {f: n for n, f in enumerate(dict.fromkeys(m.task_type for m in self._memories))}
        task_types = [number[m.task_type] for m in self._memories]
        found: dict[tuple[int, frozenset[str]], list[int]] = defaultdict(list)
        for i, (task_type, terms) in enumerate(zip(task_types, documents, strict=True)):
            found[task_type, frozenset(terms)].append(i)
        self._titles = [_Title(*key, self._norm(key[1]), numbers) for key, numbers in found.items()]
        self._by_type: list[list[int]] = [[] for _ in number]
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for n, title in enumerate(self._titles):
            self._by_type[title.task_type].append(n)
            for term in title.words & self._rare:
                self._by_word[term].append(n)
        self._task_types = _TaskTypeModel(task_types, documents)

    def choices(
        self, task: str, k: int, keep: Callable[[Memory], bool], places: Collection[str], most: int, near_tie: float
    ) -> list[tuple[float, list[Memory]]]:
        found = ((nearness, self._memories[i]) for nearness, i in self._ranked(task))
        kept = list(islice((pair for pair in found if keep(pair[1])), k * most))
        rows = [kept[n : n + most] for n in range(0, len(kept), most)]
        return [(row[0][0], [memory for _, memory in row]) for row in rows]

    def _ranked(self, task: str) -> Iterator[tuple[float, int]]:
        """(nearness, number) of the memories that share a word with `task`, best first, equals in pack order.

        Titles with a rare word of `task` are looked at first. The others share common words only, which bounds their
        cosine: those of a task type are looked at when nothing found is nearer than they can be.
        """
        terms = [t for t in words(task) if t in self._squares]
        norm = self._norm(terms)
        chances = self._task_types.posterior(terms)
        heap: list[tuple[float, int, int, int, float]] = []  # (order, memory, title, which of its memories, nearness)

        def look_at(titles: Iterable[int]) -> None:
            for n in titles:
                task_type, title, title_norm, memories = self._titles[n]
                if shared := [self._squares[t] for t in terms if t in title]:
                    nearness = sum(shared) * (chances[task_type] / (title_norm * norm))
                    heappush(heap, (-round(nearness, _DIGITS), memories[0], n, 0, nearness))

        rare = {n for term in terms if term in self._rare for n in self._by_word[term]}
        look_at(rare)
        bound = self._norm([t for t in terms if t not in self._rare]) / norm * _ABOVE
        for task_type in sorted(range(len(chances)), key=chances.__getitem__, reverse=True):
            nearest = -round(chances[task_type] * bound, _DIGITS)
            while heap and heap[0][0] < nearest:
                yield self._popped(heap)
            look_at(n for n in self._by_type[task_type] if n not in rare)
        while heap:
            yield self._popped(heap)

    def _popped(self, heap: list[tuple[float, int, int, int, float]]) -> tuple[float, int]:
        """(nearness, number) of the memory on top; the next one of its title takes its place."""
        order, memory, n, which, nearness = heap[0]
        memories = self._titles[n].memories
        if which + 1 < len(memories):
            heapreplace(heap, (order, memories[which + 1], n, which + 1, nearness))
        else:
            heappop(heap)
        return nearness, memory

    def _norm(self, terms: Iterable[str]) -> float:
        return math.sqrt(sum(self._squares[t] for t in terms)) or 1.0


class _TaskTypeModel:
    """Bernoulli naive Bayes from the words of a task to its task type: absent words count too, which is what
    tells "put a bowl in fridge" from "put a clean bowl in fridge".

    All words that no task of a type has are as likely in it, so only the others are stored: linear in the pack.
    """

    def __init__(self, task_types: Sequence[int], documents: Sequence[Sequence[str]]) -> None:
        """task_types: of each document, numbered from 0 on."""
        size = Counter(task_types)
        seen = Counter((term, f) for f, terms in zip(task_types, documents, strict=True) for term in terms)
        vocabulary = len({term for term, _ in seen})
        unseen = [0.5 / (size[f] + 1) for f in range(len(size))]
        self._unseen_odds = [_log_odds(p) for p in unseen]
        self._all_absent = [math.log(size[f]) + vocabulary * math.log1p(-p) for f, p in enumerate(unseen)]
        self._odds: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for (term, f), n in seen.items():
            p = (n + 0.5) / (size[f] + 1)
            self._all_absent[f] += math.log1p(-p) - math.log1p(-unseen[f])
            self._odds[term].append((f, _log_odds(p) - self._unseen_odds[f]))  # on top of an unseen word's

    def posterior(self, terms: Sequence[str]) -> list[float]:
        """P(task type | exactly these words of the vocabulary are present), for each task type."""
        logs = [v + len(terms) * odds for v, odds in zip(self._all_absent, self._unseen_odds, strict=True)]
        for term in terms:
            for f, odds in self._odds[term]:
                logs[f] += odds
        top = max(logs, default=0.0)
        weights = [math.exp(v - top) for v in logs]
        total = sum(weights)
        return [weight / total for weight in weights]


def _log_odds(p: float) -> float:
    return math.log(p) - math.log1p(-p)
