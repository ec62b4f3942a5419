"""Many memories to few entries: those that say the same become one, and what a limit leaves no room for is dropped.

Same memories, same entries: nothing depends on more than their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import islice

from duomem.memory_packs.memory import MAX_SOURCES, Memory

_SEARCH = "search "
_LETTERS_A_TOKEN = 3
_SAME_WORDING = 0.8
"""Share of the words, in order, from which on two memories with the same set of words say the same."""


def count_tokens(memory: Memory) -> int:
    """About how many tokens a student reads for a memory: a third of its letters. On the expert's scripts that is 3 %
    more than SmolLM2's tokenizer counts in all, and at most a fifth less for one of them.
    """
    return -(-len(memory.text()) // _LETTERS_A_TOKEN)


def consolidate(memories: Iterable[Memory], by_title: bool = False) -> list[Memory]:
    """One entry for all memories that say the same of a goal.

    Two say the same if they are of one kind, their goals are about the same things and their steps differ in no more
    than places where nothing was found, all but the last place of a "search" step: what was found where, and what was
    done with it, is equal. The earliest of them is told, and the games of the others support it. Other ways to
    reach a goal stay entries of their own.

    by_title: goals with other titles are other goals, for packs in which titles are what is searched. Goals about
    nothing that has a name are always told apart so.

    Returns the entries in the order they come in: what is found first for a goal is what would be without merging.
    """
    entries: dict[Hashable, list[Memory]] = defaultdict(list)
    for memory in memories:
        entries[_goal(memory, by_title), memory.kind, tuple(map(_found_at, memory.steps))].append(memory)
    return [_merged(alike) for alike in entries.values()]


def consolidate_wordings(
    memories: Iterable[Memory], words: Callable[[str], Sequence[str]], by_title: bool = False
) -> list[Memory]:
    """One entry for all memories of a goal that say the same in other words, for writers that word each afresh.

    Two say the same if they are of one kind, their goals are about the same things, their steps use the same words that
    name something (but for places where nothing was found, see `consolidate`), and in nearly the same order. The
    earliest of them is told.

    words: of a step, those that name something. by_title: see `consolidate`.
    """
    alike: dict[Hashable, list[tuple[list[str], list[Memory]]]] = defaultdict(list)
    order: list[list[Memory]] = []
    for memory in memories:
        said = [word for step in memory.steps for word in _told(step, words(step))]
        known = alike[_goal(memory, by_title), memory.kind, frozenset(said)]
        near = next((entry for other, entry in known if _nearness(said, other) >= _SAME_WORDING), None)
        if near is None:
            near = []
            known.append((said, near))
            order.append(near)
        near.append(memory)
    return [_merged(entry) for entry in order]


def _told(step: str, words: Sequence[str]) -> list[str]:
    """The words of a step, of a search the first and the last alone."""
    return [*words[:1], *words[1:][-1:]] if step.startswith(_SEARCH) else [*words]


def _nearness(said: Sequence[str], other: Sequence[str]) -> float:
    return SequenceMatcher(None, said, other, autojunk=False).ratio()


def fit(memories: Sequence[Memory], max_entries: int | None = None, max_tokens: int | None = None) -> list[Memory]:
    """As many memories as the limits allow, in their order, so that few goals are lost.

    First one memory for each goal, the goals that most games support first, then a second one for each, and so on, up
    to the first that does not fit. max_entries: how many. max_tokens: what all of them may take, see count_tokens.
    """
    of_goal: dict[Hashable, list[int]] = defaultdict(list)
    for number, memory in enumerate(memories):
        of_goal[_goal(memory)].append(number)
    support = {goal: sum(len(memories[i].sources) for i in numbers) for goal, numbers in of_goal.items()}
    goals = sorted(of_goal, key=lambda goal: -support[goal])
    longest = max(map(len, of_goal.values()), default=0)
    ranked = (of_goal[goal][turn] for turn in range(longest) for goal in goals if turn < len(of_goal[goal]))
    kept: list[int] = []
    left = max_tokens
    for number in islice(ranked, max_entries):
        if left is not None:
            left -= count_tokens(memories[number])
            if left < 0:
                break
        kept.append(number)
    return [memories[i] for i in sorted(kept)]


def _goal(memory: Memory, by_title: bool = False) -> Hashable:
    named = memory.object_type and memory.target_type
    return (*memory.triple, "" if named and not by_title else memory.task)


def _found_at(step: str) -> str:
    return _SEARCH + step.rpartition(", ")[2].removeprefix(_SEARCH) if step.startswith(_SEARCH) else step


def _merged(alike: Sequence[Memory]) -> Memory:
    """The entry for memories that say the same."""
    _, *others = dict.fromkeys(source for memory in alike for source in memory.sources)
    return replace(alike[0], others=tuple(others[: MAX_SOURCES - 1]))
