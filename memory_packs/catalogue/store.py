"""The packs a user has installed: files by digest, and a record a name that says which it is and who vouches for it.

Writing a record is what installs a pack. What a killed run leaves is swept by the next one; playing never waits for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from duomem.core.errors import CatalogueError, PackError
from duomem.core.files import read_json, sha256_file, write_json
from duomem.memory_packs.catalogue.entry import SUFFIX, Entry, is_name, version_key
from duomem.memory_packs.catalogue.lock import locked
from duomem.memory_packs.catalogue.sources import data_folder
from duomem.memory_packs.pack import read_pack

_FORMAT = "duomem-installed"
_LIMIT = 64 << 10
_PART = ".part"
_KEPT = 7 * 86400
"""Seconds that a download nobody goes on with is kept."""


@dataclass(frozen=True)
class Trust:
    """Why a pack is believed: the catalogue's address, the identity and version of its root, the ids of the root's
    keys, the version of the timestamp that vouched, when that expires and when it was verified (dates, UTC).
    """

    catalogue: str
    identity: str
    root_version: int
    root_keys: tuple[str, ...]
    timestamp_version: int
    expires: str
    verified: str

    def is_from(self, identity: str, address: str) -> bool:
        """Whether it is of the catalogue of that identity, or at that address."""
        return self.identity == identity or self.catalogue == address


@dataclass(frozen=True)
class Installed:
    """One installed pack. path: its file."""

    name: str
    version: str
    sha256: str
    size: int
    trust: Trust
    path: Path

    def said(self) -> str:
        """What it is and who vouches for it, one line."""
        trust, today = self.trust, time.strftime("%Y-%m-%d", time.gmtime())
        lasts = f"until {trust.expires}" if trust.expires >= today else f"until {trust.expires}, which is past"
        return (
            f"{self.name} {self.version} from {trust.catalogue}, verified {trust.verified} with root "
            f"{trust.root_version} (keys {', '.join(key[:8] for key in trust.root_keys)}), vouched for {lasts}"
        )


def packs_folder() -> Path:
    """Where installed packs are."""
    return data_folder() / "packs"


def installed() -> list[Installed]:
    """The installed packs, by name. Raises CatalogueError for a damaged record."""
    folder = packs_folder()
    return [_read(file) for file in sorted(folder.glob("*.json")) if not file.name.startswith(".")]


def find_installed(name: str) -> Installed | None:
    """The installed pack called `name`, None if there is none. Raises CatalogueError for a damaged record."""
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


def install(entry: Entry, part: Path, trust: Trust) -> Installed:
    """Make the downloaded file `part` the installed pack of its name, within `changing`.

    The digest is checked before anything is parsed, and the pack is read whole before it is installed. The file it
    replaces is left to the next sweep: somebody may be about to read it. Raises CatalogueError or PackError; then
    `part` is removed, and what was installed stays.
    """
    try:
        if part.stat().st_size != entry.size or sha256_file(part) != entry.sha256:
            raise CatalogueError(f"{entry.title}: the download is not what the catalogue lists: pull it again")
        pack = read_pack(part)
        if (pack.name, pack.version) != (entry.name.rpartition("/")[2], entry.version):
            raise CatalogueError(f"{entry.title}: the pack calls itself {pack.name} {pack.version}: ask its publisher")
    except (CatalogueError, PackError):
        part.unlink()
        raise
    with open(part, "rb") as f:
        os.fsync(f.fileno())
    made = Installed(entry.name, entry.version, entry.sha256, entry.size, trust, _file(entry.name, entry.sha256))
    os.replace(part, made.path)
    _write(made)
    return made


def confirm(found: Installed, trust: Trust) -> Installed:
    """Note, within `changing`, that `found` was verified anew."""
    made = replace(found, trust=trust)
    _write(made)
    return made


def remove(name: str) -> Installed:
    """Remove an installed pack and return what it was. Raises CatalogueError if there is none."""
    with changing():
        found = find_installed(name)
        if found is None:
            raise CatalogueError(f"{name}: no such pack is installed: `duomem pack list` prints those that are")
        _record(name).unlink()
        found.path.unlink(missing_ok=True)
        return found


def _stem(name: str) -> str:
    return name.replace("/", "~")


def _record(name: str) -> Path:
    return packs_folder() / f"{_stem(name)}.json"


def _file(name: str, sha256: str) -> Path:
    return packs_folder() / f"{_stem(name)}-{sha256}{SUFFIX}"


def _write(found: Installed) -> None:
    value = asdict(found)
    del value["path"]
    write_json(_record(found.name), {"format": _FORMAT, **value})


def _read(file: Path) -> Installed:
    value = read_json(file, "record of an installed pack", _LIMIT)
    try:
        trust = Trust(**{**value["trust"], "root_keys": tuple(value["trust"]["root_keys"])})
        name, version, sha256, size = (value[field] for field in ("name", "version", "sha256", "size"))
        lines = (trust.catalogue, trust.identity, trust.expires, trust.verified, *trust.root_keys)
        sound = (
            value["format"] == _FORMAT
            and is_name(name)
            and file == _record(name)
            and version_key(version) is not None
            and re.fullmatch("[0-9a-f]{64}", sha256) is not None
            and all(line.isprintable() for line in lines)
            and all(type(number) is int for number in (size, trust.root_version, trust.timestamp_version))
        )
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise CatalogueError(f"{file}: is no record of an installed pack: remove it and pull the pack again")
    return Installed(name, version, sha256, size, trust, _file(name, sha256))


def _sweep() -> None:
    """Remove what no record names. Nothing is removed while a record is damaged."""
    kept = {one.path for one in installed()}
    for file in packs_folder().iterdir():
        if (file.suffix == SUFFIX and file not in kept) or (file.name.startswith(".") and file.suffix == ".tmp"):
            file.unlink()
    names = {_stem(one.name): one.sha256 for one in installed()}
    for part in (data_folder() / "downloads").glob(f"*{_PART}"):
        stem, _, sha256 = part.name.removesuffix(_PART).rpartition("-")
        with contextlib.suppress(FileNotFoundError):
            if names.get(stem) == sha256 or time.time() - part.stat().st_mtime > _KEPT:
                part.unlink()
