"""Building a pack from a trajectory file: what won train episodes have in common becomes its entries.

Refuses episodes of validation splits: nothing a student is measured on may become a memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from duomem.core.errors import PackError
from duomem.core.files import sha256_input
from duomem.core.trajectory import read_train_trajectories
from duomem.memory_packs.consolidate import consolidate, count_tokens, fit
from duomem.memory_packs.lexicon import Lexicon, Utterance, utterances
from duomem.memory_packs.manifest import UNRELEASED, Release
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import MAX_STEPS, write_memory
from duomem.memory_packs.pack import Pack, write_pack


def build_pack(
    trajectories: Path | str,
    out: Path | str,
    name: str,
    memory_format: str = "script",
    max_steps: int = MAX_STEPS,
    *,
    max_entries: int | None = None,
    max_tokens: int | None = None,
    hold_out_scenes: Collection[str] = (),
    release: Release = UNRELEASED,
) -> Pack:
    """Write the memories of won episodes to a pack, and a lexicon of the sentences that tell their goals.

    Memories that say the same are one entry (see consolidate), titled by the game's own sentence: what people wrote
    stays out of the pack, which holds only weights of words. There is no lexicon where a goal is about nothing that
    has a name. A won episode without a step to tell is passed over.

    trajectories: file of one player's train episodes. out: .dmpack file to write. name: goes into the pack.
    memory_format: "script", "trajectory", "script+trajectory" or "avoid" (see write_memory).
    max_steps: most steps of a memory, what follows them is left out. max_entries: most entries; max_tokens: most tokens
    of all of them (see fit). hold_out_scenes: floor plans ("301") of which nothing is read, neither memories nor words.
    release: what the pack says of its version, licences and use; its token budget is counted here if it states none.

    Returns the pack. A file without a win gives an empty one.
    Raises PackError if players are mixed, no episode was played or a scene to hold out is in no episode,
    TrajectoryError if an episode is not of the train split.
    """
    trajectories, out = Path(trajectories), Path(out)
    memories: list[Memory] = []
    told: dict[Utterance, None] = {}
    named = True
    players, held_out = set(), set()
    for trajectory in read_train_trajectories(trajectories):
        players.add(trajectory.player)
        scene = trajectory.group.rpartition("-")[2]
        if scene in hold_out_scenes:
            held_out.add(scene)
        elif trajectory.won and (memory := write_memory(trajectory, memory_format, max_steps)).steps:
            memories.append(memory)
            said = utterances(trajectory)
            told |= dict.fromkeys(said)
            named = named and bool(said)
    if len(players) != 1:
        raise PackError(
            f"{trajectories}: played by {sorted(players) or 'nobody'}: a pack has one author, give one "
            "player's trajectories"
        )
    if absent := sorted(set(hold_out_scenes) - held_out):
        raise PackError(f"{trajectories}: no episode is in scene {absent[0]}: give the number a game's folder ends in")
    lexicon = Lexicon.learn(told) if told and named else None
    entries = fit(consolidate(memories, by_title=lexicon is None), max_entries, max_tokens)
    source = sha256_input(trajectories, "trajectory file")
    return write_pack(out, name, players.pop(), source, entries, lexicon, with_budget(release, entries))


def with_budget(release: Release, memories: Sequence[Memory]) -> Release:
    """The release, with a token budget for as many of the longest memories as it recommends if it states none."""
    if release.token_budget:
        return release
    longest = sorted(map(count_tokens, memories), reverse=True)[: release.k]
    return replace(release, token_budget=sum(longest))
