"""Which memories of a pack an episode is shown: those for the goal its intro tells, in the room it lists."""

from __future__ import annotations

from collections.abc import Sequence

from duomem.device.world.world import World
from duomem.device.world.worlds import load_world
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.overlay import Overlay
from duomem.memory_packs.retriever import NEAR_TIE, Retriever

FAR_TIE = 0.01
"""After memories that led nowhere, others are shown if their goal is at least this times as likely as the best one."""


def recall(
    memories: Retriever | Overlay | None,
    intro: str,
    k: int,
    game: str,
    shown: Sequence[Memory] = (),
    world: World | None = None,
) -> tuple[Memory, ...]:
    """At most `k` memories for the goal that an intro tells, best first, none of them of the game itself alone.

    memories: of the pack played with, or with what was learned beside it; None for none. game: its digest. A memory
    that other games support too is found: a pack built without this game would hold it. shown: memories seen
    before; with any, those of other goals are found, less likely ones too. world: ALFWorld if None.
    """
    if memories is None:
        return ()
    world = world or load_world()
    goal, places = world.goal(intro), world.place_kinds(intro)
    near_tie = FAR_TIE if shown else NEAR_TIE
    found = memories.search(goal, k + len(shown), lambda m: m.without((game,)) is not None, places, near_tie)
    goals = {m.triple for m in shown}
    return tuple(m for _, m in found if m.triple not in goals)[:k]
