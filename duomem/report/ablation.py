"""The ladder: {none, self, teacher memory} x {base, LoRA} and the teacher, played on the same games.

Each rung's episodes are a file named by what it was made from: a ladder stops and goes on anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import UserError
from duomem.core.files import sha256_input
from duomem.device.agent.evaluate import Condition, Play, episode_file, evaluate
from duomem.memory_packs.pack import Pack, read_pack
from duomem.report.condition import Result, Rung, read_result

NONE, SELF, TEACHER = "no memory", "self memory", "teacher memory"
BASE, LORA = "base", "LoRA"
TAUGHT = {"expert": "programmatic expert", "llm": "LLM teacher", "reward": "reward"}
_ITSELF = "student:"


@dataclass(frozen=True)
class Student:
    """A compiled student. seed: name of its training run, "" for a base model; own: the pack of its own wins."""

    bundle: Path
    seed: str = ""
    own: Path | None = None


@dataclass(frozen=True)
class Ladder:
    """base, lora: the students of each kind, LoRA ones one a training seed; taught: what the LoRA learnt from, a
    key of TAUGHT. pack: the teacher's memories; teacher: its own episodes on these games, played by taught.
    """

    base: tuple[Student, ...]
    lora: tuple[Student, ...]
    taught: str
    pack: Path | None
    teacher: Path | None
    protocols: tuple[str, ...]
    play: Play


@dataclass(frozen=True)
class Climb:
    """A rung to be played: the condition of each of its files."""

    rung: Rung
    conditions: tuple[Condition, ...]


def plan(ladder: Ladder, games: Sequence[Path], split: str, folder: Path) -> list[Climb]:
    """The rungs in the order they are played and told; episodes go to `folder`. Raises UserError for a missing
    bundle or pack, for a pack that another than the student or the teacher wrote, and if there is nothing to play.
    """
    if not ladder.base and not ladder.lora:
        raise UserError("no student to play: give --base, --lora or both")
    climbs = [_climb(ladder, protocol, series, memory, games, split, folder)
              for protocol in ladder.protocols for series in (BASE, LORA) for memory in (NONE, SELF, TEACHER)]
    return [climb for climb in climbs if climb.conditions]


def climb(ladder: Ladder, climbs: Sequence[Climb], games: Sequence[Path], split: str, jobs: int) -> Iterator[Result]:
    """Play what is not played yet; yields each rung when it is done, after a protocol's students the teacher.
    Raises UserError.
    """
    digests = [sha256_input(game, "game") for game in games]
    for protocol in ladder.protocols:
        for step in climbs:
            if step.rung.panel == protocol:
                for condition, file in zip(step.conditions, step.rung.files, strict=True):
                    evaluate(condition, games, split, file, jobs)
                yield read_result(step.rung)
        if ladder.teacher is not None:
            rung = Rung("teacher", "is the " + TAUGHT[ladder.taught], (ladder.teacher,), panel=protocol)
            yield read_result(rung, digests)


def _climb(ladder: Ladder, protocol: str, series: str, memory: str, games: Sequence[Path], split: str,
           folder: Path) -> Climb:
    students = ladder.base if series == BASE else ladder.lora
    chosen = [(student, _pack(ladder, student, memory)) for student in students]
    playing = [(student, pack) for student, pack in chosen if memory == NONE or pack is not None]
    read = [None if pack is None else read_pack(pack) for _, pack in playing]
    packs = [pack for pack in read if pack is not None]
    for pack in packs:
        _check_author(pack, memory)
    # An empty pack plays as none does: the same episodes count.
    conditions = tuple(Condition(student.bundle, file if pack is not None and pack.memories else None, protocol,
                                 ladder.play)
                       for (student, file), pack in zip(playing, read, strict=True))
    taught = [f"LoRA: {TAUGHT[ladder.taught]}"] if series == LORA else []
    if packs:
        taught.append(f"memory: {_writers(packs)}")
    rung = Rung(f"{series}, {memory}", "; ".join(taught) or "nothing",
                tuple(episode_file(folder, condition, games, split) for condition in conditions),
                tuple(student.seed for student, _ in playing), protocol, series, memory)
    return Climb(rung, conditions)


def _pack(ladder: Ladder, student: Student, memory: str) -> Path | None:
    return {NONE: None, SELF: student.own, TEACHER: ladder.pack}[memory]


def _check_author(pack: Pack, memory: str) -> None:
    if pack.author.startswith(_ITSELF) != (memory == SELF):
        raise UserError(f"pack {pack.name} (sha256 {pack.digest[:12]}): its memories are by {pack.author}, that is no "
                        f"{memory}: give the pack of the {'student' if memory == SELF else 'teacher'}")


def _writers(packs: Sequence[Pack]) -> str:
    """Who wrote the packs' memories, and how many there are."""
    kinds = [pack.author.partition("/")[0] for pack in packs]
    names = dict.fromkeys("itself" if kind.startswith(_ITSELF) else TAUGHT.get(kind, kind) for kind in kinds)
    return f"{', '.join(names)} ({' / '.join(f'{len(pack.memories):,}' for pack in packs)} memories)"
