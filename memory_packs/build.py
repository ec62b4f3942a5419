"""Building a pack from a trajectory file: every won train episode becomes one memory.

Refuses episodes of validation splits: nothing a student is measured on may become a memory.
"""

from __future__ import annotations

from pathlib import Path

from duomem.core.errors import PackError
from duomem.core.files import sha256_input
from duomem.core.trajectory import read_train_trajectories
from duomem.memory_packs.memory_format import MAX_STEPS, write_memory
from duomem.memory_packs.pack import Pack, write_pack


def build_pack(
    trajectories: Path, out: Path, name: str, memory_format: str = "script", max_steps: int = MAX_STEPS
) -> Pack:
    """Write the memories of the won episodes in `trajectories` to the pack `out`, in file order.

    memory_format, max_steps: see write_memory.

    Raises PackError if an episode is not of the train split, if players are mixed, or if no episode was
    played at all. A file without a win gives an empty pack: that is a result too.
    """
    memories = []
    players = set()
    for trajectory in read_train_trajectories(trajectories):
        players.add(trajectory.player)
        if trajectory.won:
            memories.append(write_memory(trajectory, memory_format, max_steps))
    if len(players) != 1:
        raise PackError(
            f"{trajectories}: played by {sorted(players) or 'nobody'}: a pack has one author, give one "
            "player's trajectories"
        )
    return write_pack(out, name, players.pop(), sha256_input(trajectories, "trajectory file"), memories)
