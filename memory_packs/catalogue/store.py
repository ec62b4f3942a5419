"""What a user has installed: packs and students, in folders by digest; a record a name says who vouches for it.

Writing a record is what installs. What a killed run leaves is swept by the next one; playing never waits for it.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from duomem.core.errors import CatalogueError, UserError
from duomem.core.files import atomic_folder, is_sha256, read_json, sha256_file, write_json
from duomem.core.user_folders import data_folder
from duomem.memory_packs.catalogue.entry import Entry, is_name, version_key
from duomem.memory_packs.catalogue.kinds import Kind
from duomem.memory_packs.catalogue.lock import locked
from duomem.memory_packs.catalogue.student import unpack_student

_FORMAT = "duomem-installed"
_LIMIT = 64 << 10
_SUFFIXES = {"pack": ".pack", "adapter": ".adapter", "bundle": ".bundle"}
"""Of the folder that a pack's file, or a student's own folder, is in."""
_PART = ".part"
_KEPT = 7 * 86400
"""Seconds that a download nobody goes on with is kept."""


def today() -> str:
    """The date here, UTC, as 2026-01-31."""
    return time.strftime("%Y-%m-%d", time.gmtime())


@dataclass(frozen=True)
class Trust:
    """Why what is installed is believed: the catalogue's address, the identity and version of its root, the ids of the
    root's keys, the version of the timestamp that vouched, when that expires and when it was verified (dates, UTC).
    """

    catalogue: str
    identity: str
    root_version: int
    root_keys: tuple[str, ...]
    timestamp_version: int
    expires: str
    verified: str

    @property
    def lasts(self) -> str:
        """Until when the catalogue vouches, and whether that is past, in words."""
        return f"until {self.expires}" if self.expires >= today() else f"until {self.expires}, which is past"

    def is_from(self, identity: str, address: str) -> bool:
        """Whether it is of the catalogue of that identity, or at that address."""
        return self.identity == identity or self.catalogue == address


@dataclass(frozen=True)
class Installed:
    """An installed pack, adapter or bundle. size: bytes that were downloaded. path: a pack's file, else its folder."""

    kind: str
    name: str
    version: str
    sha256: str
    size: int
    trust: Trust
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}

    def said(self) -> str:
        """What it is and who vouches for it, one line."""
        trust = self.trust
        return (
            f"{self.name} {self.version} ({self.kind}) from {trust.catalogue}, verified {trust.verified} with root "
            f"{trust.root_version} (keys {', '.join(key[:8] for key in trust.root_keys)}), vouched for {trust.lasts}"
        )


def packs_folder() -> Path:
    """Where installed packs and students are."""
    return data_folder() / "packs"


def installed() -> list[Installed]:
    """What is installed, by name. Raises CatalogueError for a damaged record."""
    folder = packs_folder()
    return [_read(file) for file in sorted(folder.glob("*.json")) if not file.name.startswith(".")]


def find_installed(name: str) -> Installed | None:
    """What is installed as `name`, None if nothing is. Raises CatalogueError for a damaged record."""
    file = _record(name) if is_name(name) else None
    return _read(file) if file and file.exists() else None


def part_file(entry: Entry) -> Path:
    """Where `entry` is downloaded to; what was begun of other versions of it is removed."""
    part = data_folder() / "downloads" / f"{_stem(entry.name)}-{entry.sha256}{_PART}"
    for other in part.parent.glob(f"{_stem(entry.name)}-{'?' * len(entry.sha256)}{_PART}"):
        if other != part:
            other.unlink()
    return part


@contextlib.contextmanager
def changing() -> Iterator[None]:
    """Within it, this process alone changes what is installed. What killed runs left is swept first."""
    with locked(packs_folder()):
        _sweep()
        yield


def install(entry: Entry, part: Path, trust: Trust, kind: Kind) -> Installed:
    """Make the downloaded file `part` what is installed as its name, within `changing`.

    The digest is checked before anything is parsed, and all of it is read before it is installed. What it replaces is
    left to the next sweep: somebody may be about to read it. Raises UserError; then `part` is removed, and what was
    installed stays.
    """
    path = _path(entry.kind, entry.name, entry.sha256)
    made = Installed(entry.kind, entry.name, entry.version, entry.sha256, entry.size, trust, path)
    try:
        if part.stat().st_size != entry.size or sha256_file(part) != entry.sha256:
            raise CatalogueError(f"{entry.title}: the download is not what the catalogue lists: pull it again")
        with atomic_folder(path.parent) as work:
            if entry.kind == "pack":
                shutil.copyfile(part, work / path.name)
            else:
                (work / path.name).mkdir()
                unpack_student(part, work / path.name)
            kind.check(work / path.name, entry)
    except UserError:
        part.unlink()
        raise
    _write(made)
    part.unlink(missing_ok=True)
    return made


def confirm(found: Installed, trust: Trust) -> Installed:
    """Note, within `changing`, that `found` was verified anew."""
    made = replace(found, trust=trust)
    _write(made)
    return made


def remove(name: str) -> Installed:
    """Remove what is installed as `name` and return what it was. Raises CatalogueError if there is none."""
    with changing():
        found = find_installed(name)
        if found is None:
            raise CatalogueError(f"{name}: nothing of that name is installed: `duomem pack list` prints what is")
        _record(name).unlink()
        _sweep()
        return found


def _stem(name: str) -> str:
    return name.replace("/", "..")  # which no name holds, and every kit's paths may


def _record(name: str) -> Path:
    return packs_folder() / f"{_stem(name)}.json"


def _path(kind: str, name: str, sha256: str) -> Path:
    plain = name.rpartition("/")[2]
    place = packs_folder() / f"{_stem(name)}-{sha256}{_SUFFIXES[kind]}"
    return place / (f"{plain}.dmpack" if kind == "pack" else plain)


def _write(found: Installed) -> None:
    value = asdict(found)
    del value["path"]
    write_json(_record(found.name), {"format": _FORMAT, **value})


def _read(file: Path) -> Installed:
    value = read_json(file, "record of what is installed", _LIMIT)
    try:
        trust = Trust(**{**value["trust"], "root_keys": tuple(value["trust"]["root_keys"])})
        kind, name, version, sha256, size = (value[field] for field in ("kind", "name", "version", "sha256", "size"))
        lines = (trust.catalogue, trust.identity, trust.expires, trust.verified, *trust.root_keys)
        sound = (
            value["format"] == _FORMAT
            and kind in _SUFFIXES
            and is_name(name)
            and file == _record(name)
            and version_key(version) is not None
            and is_sha256(sha256)
            and all(line.isprintable() for line in lines)
            and all(type(number) is int for number in (size, trust.root_version, trust.timestamp_version))
        )
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise CatalogueError(f"{file}: is no record of what is installed: remove it and pull that again")
    return Installed(kind, name, version, sha256, size, trust, _path(kind, name, sha256))


def _sweep() -> None:
    """Remove what no record names. Nothing is removed while a record is damaged."""
    kept = {one.path.parent for one in installed()}
    for item in packs_folder().iterdir():
        if (item.suffix in _SUFFIXES.values() or item.name.startswith(".")) and item not in kept:
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()
    names = {_stem(one.name): one.sha256 for one in installed()}
    for part in (data_folder() / "downloads").glob(f"*{_PART}"):
        stem, _, sha256 = part.name.removesuffix(_PART).rpartition("-")
        with contextlib.suppress(FileNotFoundError):
            if names.get(stem) == sha256 or time.time() - part.stat().st_mtime > _KEPT:
                part.unlink()
