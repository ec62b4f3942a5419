"""Building a pack from a trajectory file: every won train episode becomes one memory.

Refuses episodes of validation splits: nothing a student is measured on may become a memory.
"""

from __future__ import annotations

from pathlib import Path

from duomem.core.errors import PackError
from duomem.core.files import sha256_input
from duomem.core.trajectory import read_train_trajectories
from duomem.memory_packs.lexicon import Lexicon, Utterance, utterances
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import MAX_STEPS, write_memory
from duomem.memory_packs.pack import Pack, write_pack


def build_pack(
    trajectories: Path | str,
    out: Path | str,
    name: str,
    memory_format: str = "script",
    max_steps: int = MAX_STEPS,
) -> Pack:
    """Write a memory of every won episode to a pack, in file order, and a lexicon of the sentences that tell the goals.

    Equal memories are written once, so a game told in several people's words gives one, titled by the game's own
    sentence: what people wrote stays out of the pack, which holds only weights of words. There is no lexicon where
    a goal is about nothing that has a name.

    trajectories: file of one player's train episodes. out: .dmpack file to write. name: goes into the pack.
    memory_format: "script", "trajectory", "script+trajectory" or "avoid" (see write_memory).
    max_steps: most steps of a memory, what follows them is left out.

    Returns the pack. A file without a win gives an empty one.
    Raises PackError if players are mixed or no episode was played, TrajectoryError if an episode is not of the
    train split.
    """
    trajectories, out = Path(trajectories), Path(out)
    memories: dict[Memory, None] = {}
    told: dict[Utterance, None] = {}
    named = True
    players = set()
    for trajectory in read_train_trajectories(trajectories):
        players.add(trajectory.player)
        if trajectory.won:
            memories[write_memory(trajectory, memory_format, max_steps)] = None
            said = utterances(trajectory)
            told |= dict.fromkeys(said)
            named = named and bool(said)
    if len(players) != 1:
        raise PackError(
            f"{trajectories}: played by {sorted(players) or 'nobody'}: a pack has one author, give one "
            "player's trajectories"
        )
    lexicon = Lexicon.learn(told) if told and named else None
    source = sha256_input(trajectories, "trajectory file")
    return write_pack(out, name, players.pop(), source, list(memories), lexicon)
