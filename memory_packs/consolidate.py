"""Many memories to few entries: those that say the same become one, and what a limit leaves no room for is dropped.

Same memories, same entries: nothing depends on more than their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import islice

from duomem.memory_packs.memory import MAX_SOURCES, Memory

_SEARCH = "search "
_LETTERS_A_TOKEN = 3


def count_tokens(memory: Memory) -> int:
    """About how many tokens a student reads for a memory: a third of its letters. On the expert's scripts that is 3 %
    more than SmolLM2's tokenizer counts in all, and at most a fifth less for one of them.
    """
    return -(-len(memory.text()) // _LETTERS_A_TOKEN)


def consolidate(memories: Iterable[Memory], by_title: bool = False) -> list[Memory]:
    """One entry for all memories that say the same of a goal.

    Two say the same if they are of one kind, their goals are about the same things and their steps differ in no more
    than the places that were searched in vain, all but the last place of a "search" step: what was found where, and
    what was done with it, is equal. The steps told are those of most games, the earliest of equals; their title is the
    one that they came with first. Other ways to reach a goal stay entries of their own.

    by_title: goals with other titles are other goals, for packs in which titles are what is searched. Goals about
    nothing that has a name are always told apart so.

    Returns the entries, goals in the order they come in, for each the entry that most games support first.
    """
    goals: dict[Hashable, dict[Hashable, list[Memory]]] = defaultdict(lambda: defaultdict(list))
    for memory in memories:
        goals[_goal(memory, by_title)][(memory.kind, *map(_found_at, memory.steps))].append(memory)
    return [
        entry
        for alike in goals.values()
        for entry in sorted(map(_merged, alike.values()), key=lambda merged: -len(merged.sources))
    ]


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
    games = Counter(steps for steps, _ in dict.fromkeys((m.steps, source) for m in alike for source in m.sources))
    told = max(games, key=lambda steps: games[steps])
    ordered = sorted(alike, key=lambda m: m.steps != told)
    (game, group), *others = dict.fromkeys(source for m in ordered for source in m.sources)
    return replace(ordered[0], game=game, group=group, others=tuple(others[: MAX_SOURCES - 1]))
