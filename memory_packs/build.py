"""Building a pack from a trajectory file: what won train episodes have in common becomes its entries.

Refuses episodes of validation splits: nothing a student is measured on may become a memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from duomem.core.errors import PackError
from duomem.core.files import sha256_input
from duomem.core.scene import floor_plan
from duomem.core.trajectory import read_train_trajectories
from duomem.memory_packs.consolidate import consolidate, consolidate_wordings, count_tokens, fit
from duomem.memory_packs.lexicon import Lexicon, Utterance, utterances
from duomem.memory_packs.manifest import UNRELEASED, Release, Writer
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import MAX_STEPS, write_memory
from duomem.memory_packs.pack import Pack, write_pack
from duomem.memory_packs.writers.answers import answers_beside
from duomem.memory_packs.writers.drafts import find_drafts
from duomem.memory_packs.writers.prompt import PROMPTS, Prompt
from duomem.memory_packs.writers.vocabulary import content_words
from duomem.memory_packs.writers.writer import ModelWriter

_LONGEST_NAME = 80


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
    writer: ModelWriter | None = None,
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
    writer: a model that words the entries, formats "script" and "avoid"; by default the program does. Its answers are
    kept beside `out`, see answers_beside. What it words alike is one entry too.

    Returns the pack. A file without a win gives an empty one.
    Raises PackError if players or worlds are mixed, no episode was played, a scene to hold out is in no episode or the
    format is none that a model writes, TrajectoryError if an episode is not of the train split, UserError if the model
    gives no answer.
    """
    if writer and memory_format not in PROMPTS:
        raise PackError(
            f"memory format {memory_format}: a model writes the formats {', '.join(PROMPTS)}: give one, or let "
            "the program write it"
        )
    trajectories, out = Path(trajectories), Path(out)
    memories: list[Memory] = []
    told: dict[Utterance, None] = {}
    named = True
    players, held_out, worlds = set(), set(), set()
    for trajectory in read_train_trajectories(trajectories):
        players.add(trajectory.player)
        worlds.add(trajectory.world)
        scene = floor_plan(trajectory.group)
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
    if len(worlds) > 1:
        raise PackError(f"{trajectories}: played in {', '.join(sorted(worlds))}: a pack is for one world, give its own")
    release = replace(release, environment=worlds.pop())
    if absent := sorted(set(hold_out_scenes) - held_out):
        raise PackError(f"{trajectories}: no episode is in scene {absent[0]}: give the number a game's folder ends in")
    lexicon = Lexicon.learn(told) if told and named else None
    by_title = lexicon is None
    entries = consolidate(memories, by_title)
    if writer:
        prompt = Prompt.load(memory_format)
        told_first = fit(entries, max_entries)
        drafts = find_drafts(trajectories, told_first, memory_format, max_steps, hold_out_scenes, prompt.tells_lost)
        written = writer.write(drafts, prompt, max_steps, answers_beside(out))
        worded = consolidate_wordings([entry.memory for entry in written], content_words, by_title)
        entries = fit(worded, max_entries, max_tokens)
        fallen_back = {entry.memory.id for entry in written if not entry.by_model}
        by_program = sum(memory.id in fallen_back for memory in entries)
        who = Writer("llm", writer.model.name[:_LONGEST_NAME], writer.revision, prompt.digest, by_program)
        release = replace(release, writer=who)
    else:
        entries = fit(entries, max_entries, max_tokens)
    source = sha256_input(trajectories, "trajectory file")
    return write_pack(out, name, players.pop(), source, entries, lexicon, with_budget(release, entries))


def with_budget(release: Release, memories: Sequence[Memory]) -> Release:
    """The release, with a token budget for as many of the longest memories as it recommends if it states none."""
    if release.token_budget:
        return release
    longest = sorted(map(count_tokens, memories), reverse=True)[: release.k]
    return replace(release, token_budget=sum(longest))
