"""The card of a pack: what it was measured to do, computed from episode files and never written by hand.

A card shows what its files say, and a digest proves no author: whoever doubts it plays the games again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from duomem.core.episode_words import TEMPLATE
from duomem.core.errors import PackError
from duomem.core.files import read_json, read_jsonl
from duomem.core.reading import digest_of
from duomem.core.resumable_jsonl import sidecar_of
from duomem.core.trajectory import from_json
from duomem.memory_packs.manifest import Evaluation
from duomem.memory_packs.pack import Pack, read_pack, write_pack

_LIMIT = 1 << 20
_GIVE = "give an episode file of `duomem eval` or `duomem baseline`"
_DIGITS = 12


def write_card(pack: Path | str, results: Sequence[Path | str], out: Path | str) -> Pack:
    """Write the pack with a card of what was played with it, in place of the card it has.

    pack: .dmpack file; its memories and its lexicon stay the same bytes. results: episode files, each with its
    .inputs.json; played with this pack, under whatever card, or without one, to compare. out: .dmpack file to write.

    Returns the pack. Raises PackError for files that were played with other memories, that do not fit their
    inputs, or twice the same; FileError or TrajectoryError for damaged ones.
    """
    read = read_pack(pack)
    inputs = {Path(file): _inputs(Path(file)) for file in results}
    if len({digest_of(made) for made in inputs.values()}) != len(results):
        raise PackError(f"{pack}: two of these result files were played from the same inputs: give each once")
    rows = tuple(_evaluation(file, made, read, Path(pack)) for file, made in inputs.items())
    release = replace(read.release(), evaluations=rows)
    return write_pack(Path(out), read.name, read.teacher, read.source, read.memories, read.lexicon, release)


def _inputs(file: Path) -> dict[str, Any]:
    """What an episode file was played from."""
    inputs = read_json(sidecar_of(file), "record of inputs", _LIMIT)
    if not isinstance(inputs, dict):
        raise PackError(f"{sidecar_of(file)}: is not a JSON object: {_GIVE}")
    return inputs


def _evaluation(file: Path, inputs: Mapping[str, Any], pack: Pack, pack_file: Path) -> Evaluation:
    """The row of an episode file."""
    if inputs.get("pack") not in (None, pack.content_digest):
        raise PackError(
            f"{file}: was played with other memories than {pack_file} has (content digest "
            f"{str(inputs['pack'])[:_DIGITS]}, not {pack.content_digest[:_DIGITS]}): give files played with this pack"
        )
    student, baseline, split = inputs.get("bundle"), inputs.get("baseline"), inputs.get("split")
    if not isinstance(student or baseline, str) or not isinstance(split, str):
        raise PackError(f"{sidecar_of(file)}: does not say who played which split: {_GIVE}")
    n = wins = 0
    players = set()
    for n, row in enumerate(read_jsonl(file, "episode file"), 1):
        played = from_json(row, f"{file}: line {n}")
        if played.split != split:
            raise PackError(f"{file}: line {n}: field split is {played.split!r}, its inputs say {split!r}: play again")
        players.add(played.player)
        wins += played.won
    expected = f"student:{student[:_DIGITS]}" if student else baseline
    if len(players) != 1 or not players.pop().startswith(str(expected)):
        raise PackError(f"{file}: was not played by {expected} alone, as its inputs say: {_GIVE}")
    told, protocol = inputs.get("goals", TEMPLATE), inputs.get("protocol", "baseline")
    return Evaluation.of(str(student or baseline), split, str(told), str(protocol), _condition(inputs), n, wins)


def _condition(inputs: Mapping[str, Any]) -> str:
    """What was shown and by which rules it was played, in words: "at most 3 memories, 50 steps, action filter"."""
    shown = "no memory" if inputs.get("pack") is None else f"at most {inputs.get('k')} memories"
    rules = [shown, f"{inputs.get('max_steps')} steps", "action filter" if inputs.get("action_filter") else "no filter"]
    rules += ["no reminder"] if inputs.get("reminder") is False else []
    more = {
        "second_look": "second look after step",
        "context_length": "context",
        "device": "device",
        "prompt": "prompt",
        "seed": "seed",
    }
    return ", ".join(rules + [f"{word} {inputs[name]}" for name, word in more.items() if inputs.get(name) is not None])
