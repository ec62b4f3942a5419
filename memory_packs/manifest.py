"""What a pack says of itself: name, version, licences, who taught it, how to play with it, what it was measured to do.

The manifest of a downloaded pack is untrusted: every field is checked, and a field that is not known is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from duomem.core.files import is_sha256
from duomem.core.stats import wilson
from duomem.memory_packs.memory import is_line

FORMAT = "duomem-pack"
SCHEMA = 3

UNSTATED = "NOASSERTION"
"""SPDX's word for a licence that nobody stated."""

_LETTERS = 200
_NUMBER = r"(?:0|[1-9][0-9]{0,8})"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z.-]{{1,32}})?(?:\+[0-9A-Za-z.-]{{1,32}})?")
_SPDX_ID = r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}"
_SPDX = re.compile(rf"{_SPDX_ID}(?: (?:AND|OR|WITH) {_SPDX_ID}){{0,7}}")
_LICENCES = 20
_EVALUATIONS = 100
_MOST = 1_000_000


@dataclass(frozen=True)
class Teacher:
    """Who played what the memories tell. kind: "expert", "student", "llm"; "several" of a merged pack. id: which one,
    "" where there is one only. revision: of its program or weights. prompt_digest: SHA-256 of what it was asked with,
    hex, "" where it was not asked.
    """

    kind: str
    id: str = ""
    revision: str = ""
    prompt_digest: str = ""

    @classmethod
    def of(cls, player: str) -> Teacher:
        """The player of a trajectory: "expert/1", "student:NAME"."""
        name, _, revision = player.partition("/")
        kind, _, identity = name.partition(":")
        return cls(kind, identity, revision)

    def __str__(self) -> str:
        """As trajectories name their player."""
        return self.kind + (f":{self.id}" if self.id else "") + (f"/{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Writer:
    """Who put into words what was played. kind: "program" (memory_format.py), "llm"; "several" of a merged pack. id:
    which model. revision: of its weights, "" if nobody said. prompt_digest: SHA-256 of the prompt that it was asked
    with, hex. by_program: how many entries the program wrote all the same, as what the model wrote could not be used.
    """

    kind: str
    id: str = ""
    revision: str = ""
    prompt_digest: str = ""
    by_program: int = 0

    def __str__(self) -> str:
        """As "llm:NAME/REVISION"."""
        return str(Teacher(self.kind, self.id, self.revision))


PROGRAM = Writer("program")
"""Nobody was asked; such a pack says nothing of its writer."""


@dataclass(frozen=True)
class Evaluation:
    """A row of a pack's card, computed from an episode file (card.py).

    student: SHA-256 of the bundle's manifest, or a baseline's name. split: which games. goals: whose words told them.
    protocol: how commands were chosen. condition: what was shown, and by which rules it was played. n, wins: episodes
    played and won. low, high: the 95 % Wilson interval of the success, to four decimals.
    """

    student: str
    split: str
    goals: str
    protocol: str
    condition: str
    n: int
    wins: int
    low: float
    high: float

    @classmethod
    def of(cls, student: str, split: str, goals: str, protocol: str, condition: str, n: int, wins: int) -> Evaluation:
        """The row with its interval."""
        low, high = (round(bound, 4) for bound in wilson(wins, n))
        return cls(student, split, goals, protocol, condition, n, wins, low, high)


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a publisher says of a pack beside its memories.

    version: semantic. licence: an SPDX expression. upstream_licences: of what it was made from. environment: what the
    memories are played in. prompt_version: the prompt that they are shown in, None if nobody said. k: most memories to
    show. token_budget: tokens to keep free for k of them, see consolidate.count_tokens; 0 if nobody said. evaluations:
    the card. writer: who put the memories into words.
    """

    version: str = "0.1.0"
    licence: str = UNSTATED
    upstream_licences: tuple[str, ...] = ()
    environment: str = "alfworld"
    prompt_version: int | None = None
    k: int = 3
    token_budget: int = 0
    evaluations: tuple[Evaluation, ...] = ()
    writer: Writer = PROGRAM

    def release(self) -> Release:
        """These fields alone."""
        return Release(**{field.name: getattr(self, field.name) for field in fields(Release)})


UNRELEASED = Release()
"""What a pack says of itself if nobody says more."""


def manifest_to_json(name: str, teacher: Teacher, source: str, release: Release) -> dict[str, Any]:
    """The manifest as a JSON object, but for what it says of the other members."""
    said = asdict(release) | {"upstream_licences": list(release.upstream_licences)}
    said["evaluations"] = [asdict(row) for row in release.evaluations]
    if release.writer == PROGRAM:
        del said["writer"]
    return {"format": FORMAT, "schema": SCHEMA, "name": name, "teacher": asdict(teacher), "source": source, **said}


def manifest_from_json(said: Any, refuse: Callable[[str, str], Exception]) -> tuple[str, Teacher, str, Release]:
    """(name, teacher, source, release) of an untrusted manifest whose schema is known to be SCHEMA.

    refuse: makes the error from a field's name and what is wrong with it.
    """
    for field in ("name", "source"):
        if not is_line(said.get(field), _LETTERS):
            raise refuse(field, f"is not a line of at most {_LETTERS} characters")
    teacher: Teacher = _record(Teacher, said.get("teacher"), "teacher", refuse)
    _check_prompt_digest(teacher, "teacher", refuse)
    for field, form, what in (("version", _SEMVER, "semantic version"), ("licence", _SPDX, "SPDX licence expression")):
        if not _matches(form, said.get(field)):
            raise refuse(field, f"is no {what}")
    upstream = said.get("upstream_licences")
    if not isinstance(upstream, list) or len(upstream) > _LICENCES or not all(_matches(_SPDX, one) for one in upstream):
        raise refuse("upstream_licences", f"is not a list of at most {_LICENCES} SPDX licence expressions")
    if not is_line(said.get("environment"), _LETTERS):
        raise refuse("environment", f"is not a line of at most {_LETTERS} characters")
    if said.get("prompt_version", 0) is not None and not _is_count(said.get("prompt_version"), 0):
        raise refuse("prompt_version", "is neither null nor a version's number")
    for field, least in (("k", 1), ("token_budget", 0)):
        if not _is_count(said.get(field), least):
            raise refuse(field, f"is not a whole number from {least} to {_MOST}")
    rows = said.get("evaluations")
    if not isinstance(rows, list) or len(rows) > _EVALUATIONS:
        raise refuse("evaluations", f"is not a list of at most {_EVALUATIONS} evaluations")
    evaluations = tuple(_evaluation(row, f"evaluations[{n}]", refuse) for n, row in enumerate(rows))
    writer = _writer(said["writer"], refuse) if "writer" in said else PROGRAM
    release = Release(
        version=said["version"],
        licence=said["licence"],
        upstream_licences=tuple(upstream),
        environment=said["environment"],
        prompt_version=said["prompt_version"],
        k=said["k"],
        token_budget=said["token_budget"],
        evaluations=evaluations,
        writer=writer,
    )
    if unknown := said.keys() - manifest_to_json("", teacher, "", release).keys() - {"memories", "lexicon"}:
        raise refuse(repr(min(unknown))[:40], "is none that a manifest has")
    return said["name"], teacher, said["source"], release


def _writer(value: Any, refuse: Callable[[str, str], Exception]) -> Writer:
    writer: Writer = _record(Writer, value, "writer", refuse)
    _check_prompt_digest(writer, "writer", refuse)
    if writer == PROGRAM:
        raise refuse("writer", "says what a pack says without it")
    if not _is_count(writer.by_program, 0):
        raise refuse("writer.by_program", f"is not a whole number from 0 to {_MOST}")
    return writer


def _check_prompt_digest(who: Teacher | Writer, where: str, refuse: Callable[[str, str], Exception]) -> None:
    if who.prompt_digest and not is_sha256(who.prompt_digest):
        raise refuse(f"{where}.prompt_digest", "is no SHA-256 in hex")


def _evaluation(row: Any, where: str, refuse: Callable[[str, str], Exception]) -> Evaluation:
    read: Evaluation = _record(Evaluation, row, where, refuse)
    if not _is_count(read.n, 1) or not _is_count(read.wins, 0) or read.wins > read.n:
        raise refuse(where, "does not say how many of how many episodes were won")
    if (read.low, read.high) != tuple(round(bound, 4) for bound in wilson(read.wins, read.n)):
        raise refuse(where, f"has another interval than {read.wins} of {read.n} have")
    return read


def _record(kind: type[Any], value: Any, where: str, refuse: Callable[[str, str], Exception]) -> Any:
    """The dataclass `kind` of a JSON object that has its fields, and no other; those of text are lines."""
    names = [field.name for field in fields(kind)]
    if not isinstance(value, dict) or sorted(map(str, value)) != sorted(names):
        raise refuse(where, f"is not an object of {', '.join(names)}")
    for field in fields(kind):
        if field.type == "str" and not is_line(value[field.name], _LETTERS):
            raise refuse(f"{where}.{field.name}", f"is not a line of at most {_LETTERS} characters")
    return kind(**value)


def _matches(form: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= _MOST
