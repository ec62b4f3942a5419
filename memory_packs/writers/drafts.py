"""What a model is asked to write: the entries of a pack, each with the episode that it tells and maybe a lost one.

The trajectory file is read a second time, so that only the episodes that are told are held.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from duomem.core.errors import PackError
from duomem.core.scene import floor_plan
from duomem.core.trajectory import Trajectory, read_train_trajectories
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.writers.writer import Draft


def find_drafts(
    trajectories: Path,
    entries: Sequence[Memory],
    memory_format: str,
    max_steps: int,
    hold_out_scenes: Collection[str] = (),
    with_lost: bool = False,
) -> list[Draft]:
    """A draft for each entry that was built of `trajectories` with this format and length, in their order.

    hold_out_scenes: floor plans of which nothing is read. with_lost: whether to look for lost episodes: the first of
    the same game, else the first of the same goal. Raises PackError if an entry's episode is not in the file.
    """
    wanted = {(memory.game, memory.id) for memory in entries}
    won: dict[tuple[str, str], Trajectory] = {}
    lost: dict[str | tuple[str, ...], Trajectory] = {}
    for played in read_train_trajectories(trajectories):
        if floor_plan(played.group) in hold_out_scenes:
            continue
        if played.won:
            memory = write_memory(played, memory_format, max_steps)
            if (memory.game, memory.id) in wanted:
                won.setdefault((memory.game, memory.id), played)
        elif with_lost and played.steps:
            lost.setdefault(played.game, played)
            lost.setdefault((*played.triple, played.template_goal), played)
    if len(won) != len(wanted):
        raise PackError(f"{trajectories}: changed while it was read: build the pack again")
    drafts = []
    for memory in entries:
        episode = won[memory.game, memory.id]
        same_task = lost.get(episode.game) or lost.get((*episode.triple, episode.template_goal))
        drafts.append(Draft(memory, episode, same_task))
    return drafts
