"""What a catalogue says of a pack, an adapter or a bundle: name, version, size, digest, and what its publisher signed.

The names are paths in the catalogue and files on the user's disk, so their characters are few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from duomem.core.errors import CatalogueError
from duomem.core.files import is_sha256
from duomem.memory_packs.manifest import Evaluation
from duomem.memory_packs.pack import Pack

KINDS = {"pack": ".dmpack", "adapter": ".adapter.tar", "bundle": ".bundle.tar"}
"""What a catalogue lists, and the suffix of its file."""
PUBLISHER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
RESERVED = ("root", "targets", "snapshot", "timestamp")
"""Roles of a catalogue itself: no publisher is called so."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_VERSION = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(?:-((?:0|[1-9]\d{0,8}|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d{0,8}|\d*[A-Za-z-][0-9A-Za-z-]*))*))?",
    re.ASCII,
)
_VERSION_CHARACTERS = 64
_TASK_TYPES = 64
_FEATURES = 64
_ROWS = 40
_LINE = 200


def is_name(text: str) -> bool:
    """Whether `text` is [PUBLISHER/]NAME as a catalogue writes it: lower case letters, digits, ".", "_" and "-"."""
    publisher, slash, name = text.rpartition("/")
    if slash and (not PUBLISHER.fullmatch(publisher) or publisher in RESERVED):
        return False
    return _NAME.fullmatch(name) is not None and ".." not in name


def version_key(text: str) -> tuple[Any, ...] | None:
    """What orders versions as semver 2.0 does (a pre-release comes before its release), None for no version.

    Build metadata ("+...") has no order, so it is no part of a version here.
    """
    match = _VERSION.fullmatch(text) if len(text) <= _VERSION_CHARACTERS else None
    if match is None:
        return None
    *numbers, before = match.groups()
    parts = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in before.split(".")] if before else []
    return (*map(int, numbers), not before, parts)


def split_wanted(text: str) -> tuple[str, str | None]:
    """NAME[@VERSION] as (name, version or None). Raises CatalogueError if it is neither."""
    name, at, version = text.partition("@")
    if not is_name(name):
        raise CatalogueError(f"{text}: no name of a pack: give [PUBLISHER/]NAME[@VERSION] as `duomem pack search` does")
    if at and version_key(version) is None:
        raise CatalogueError(f"{text}: {version!r} is no version: give one as 1.2.0")
    return name, version if at else None


@dataclass(frozen=True)
class Entry:
    """One version of a pack, adapter or bundle in a catalogue.

    kind: one of KINDS. name: [PUBLISHER/]NAME. version: semver. sha256: of its file, hex. size: bytes of it. author,
    licence: as in the pack. entries: number of a pack's memories. task_types: the kinds of goal they reach, sorted.
    card: what was measured with it, a line an evaluation.
    model: what a student was trained or compiled of. system, arch, cpu_features: what the machine must be and have that
    runs a bundle, as platform.system and core.cpu name them.
    """

    kind: str
    name: str
    version: str
    sha256: str
    size: int
    author: str = ""
    licence: str = ""
    entries: int = 0
    task_types: tuple[str, ...] = ()
    card: tuple[str, ...] = ()
    model: str = ""
    system: str = ""
    arch: str = ""
    cpu_features: tuple[str, ...] = ()

    @classmethod
    def of_pack(cls, pack: Pack, size: int, publisher: str | None, where: str) -> Entry:
        """The entry of `pack`, a file of `size` bytes. Raises CatalogueError, naming `where`, if none can be made."""
        kinds = sorted({memory.task_type.split("/")[0] for memory in pack.memories})[:_TASK_TYPES]
        return cls(
            "pack",
            f"{publisher}/{pack.name}" if publisher else pack.name,
            pack.version,
            pack.digest,
            size,
            pack.author,
            pack.licence,
            len(pack.memories),
            tuple(kinds),
            tuple(map(_said, pack.evaluations[:_ROWS])),
        ).checked(publisher, where)

    def checked(self, publisher: str | None, where: str) -> Entry:
        """This entry, to be published. Raises CatalogueError, naming `where`, if no client would read it."""
        plain = self.name.removeprefix(f"{publisher}/") if publisher else self.name
        if not is_name(self.name) or "/" in plain:
            raise CatalogueError(
                f"{where}: the {self.kind}'s name {plain!r} is none for a catalogue: give another --name, of lower "
                "case letters, digits, '.', '_' and '-'"
            )
        if version_key(self.version) is None:
            raise CatalogueError(f"{where}: the {self.kind}'s version {self.version!r} is not as 1.2.0: give another")
        return self.from_custom(self.path, self.size, self.sha256, self.custom(), where)

    @property
    def plain_name(self) -> str:
        """Its name without the publisher's."""
        return self.name.rpartition("/")[2]

    @property
    def path(self) -> str:
        """Where the catalogue lists it."""
        return f"{self.name}/{self.plain_name}-{self.version}{KINDS[self.kind]}"

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    def custom(self) -> dict[str, Any]:
        """What stands in the signed metadata beside size and digest."""
        told = {name: value for name, value in self.to_json().items() if name not in ("sha256", "size") and value}
        return {"duomem": {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}}

    @classmethod
    def from_custom(cls, path: str, size: int, sha256: str, custom: Any, where: str) -> Entry:
        """Read what another publisher wrote; hostile. Raises CatalogueError naming `where` and the field."""
        told = custom.get("duomem") if isinstance(custom, dict) else None
        if not isinstance(told, dict) or told.get("kind") not in (*KINDS,):
            raise CatalogueError(f"{where}: field custom.duomem.kind is none of {', '.join(KINDS)}: ask its publisher")

        def line(field: str) -> str:
            value = told.get(field, "")
            if not _is_line(value):
                raise CatalogueError(f"{where}: field {field} is not a line of at most {_LINE} characters")
            return value

        def lines(field: str, most: int) -> tuple[str, ...]:
            value = told.get(field, [])
            if not isinstance(value, list) or len(value) > most or not all(map(_is_line, value)):
                raise CatalogueError(f"{where}: field {field} is not a list of at most {most} lines")
            return tuple(value)

        entries = told.get("entries", 0)
        if type(entries) is not int or not 0 <= entries < 1 << 31:
            raise CatalogueError(f"{where}: field entries is not a number of entries")
        if type(size) is not int or size < 1 or not is_sha256(sha256):
            raise CatalogueError(f"{where}: fields length and hashes.sha256 are not those of a file")
        entry = cls(
            told["kind"],
            line("name"),
            line("version"),
            sha256,
            size,
            line("author"),
            line("licence"),
            entries,
            lines("task_types", _TASK_TYPES),
            lines("card", _ROWS),
            line("model"),
            line("system"),
            line("arch"),
            lines("cpu_features", _FEATURES),
        )
        if not is_name(entry.name) or version_key(entry.version) is None:
            raise CatalogueError(f"{where}: fields name and version are not those of a {entry.kind}")
        if entry.path != path:
            raise CatalogueError(f"{where}: is listed as {path[:_LINE]}, its fields name and version say {entry.path}")
        return entry

    def matches(self, words: Iterable[str]) -> bool:
        """Whether every word occurs in what is said of it, in any case."""
        text = " ".join(
            (self.kind, self.name, self.version, self.author, self.licence, self.model, self.arch, *self.task_types)
        ).lower()
        return all(word.lower() in text for word in words)

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LINE and value.isprintable()


def _said(row: Evaluation) -> str:
    """An evaluation in one line."""
    where = f"{row.split} {row.goals}, {row.protocol}, {row.condition}"
    measured = f"{row.wins}/{row.n} won, {row.low:.1%} - {row.high:.1%}"
    return f"{row.student[:16]}: {where}"[: _LINE - len(measured) - 2] + f": {measured}"


def newest(entries: Iterable[Entry]) -> Entry | None:
    """The one of the highest version, of releases if there are any; None of none."""
    found = sorted(entries, key=lambda entry: version_key(entry.version) or ())
    releases = [entry for entry in found if "-" not in entry.version]
    return (releases or found or [None])[-1]
