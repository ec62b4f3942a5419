"""Which memories of a pack an episode is shown: those for the goal its intro tells, in the room it lists."""

from __future__ import annotations

from collections.abc import Sequence

from duomem.core.scene import kinds_of, receptacles
from duomem.device.agent.prompt import goal_sentence
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.overlay import Overlay
from duomem.memory_packs.retriever import NEAR_TIE, Retriever

FAR_TIE = 0.01
"""After memories that led nowhere, others are shown if their goal is at least this times as likely as the best one."""


def recall(
    memories: Retriever | Overlay | None, intro: str, k: int, game: str, shown: Sequence[Memory] = ()
) -> tuple[Memory, ...]:
    """At most `k` memories for the goal that an intro tells, best first, none of them of the game itself alone.

    memories: of the pack played with, or with what was learned beside it; None for none. game: its digest. A memory
    that other games support too is found: a pack built without this game would hold it. shown: memories seen before;
    with any, those of other goals are found, less likely ones too.
    """
    if memories is None:
        return ()
    goal, places = goal_sentence(intro), kinds_of(receptacles(intro))
    near_tie = FAR_TIE if shown else NEAR_TIE
    found = memories.search(goal, k + len(shown), lambda m: m.without((game,)) is not None, places, near_tie)
    goals = {m.triple for m in shown}
    return tuple(m for _, m in found if m.triple not in goals)[:k]
