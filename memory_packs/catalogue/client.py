"""One catalogue as its user sees it: what it lists, and its packs, verified by python-tuf's client.

The updater keeps what it has verified in a folder of its own; that is what a rollback is measured against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from duomem.core.errors import CatalogueError
from duomem.core.user_folders import data_folder
from duomem.memory_packs.catalogue.entry import PUBLISHER, RESERVED, Entry
from duomem.memory_packs.catalogue.fetch import Fetcher, Limits
from duomem.memory_packs.catalogue.lock import locked
from duomem.memory_packs.catalogue.sources import ROOT_LIMIT, Source
from duomem.memory_packs.catalogue.store import Trust, part_file, today
from duomem.memory_packs.catalogue.tuf_api import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    Metadata,
    RepositoryError,
    SlowRetrievalError,
    TargetFile,
    Targets,
    UnsignedMetadataError,
    Updater,
    UpdaterConfig,
)

_LIMITS = {"pack": 16 << 20, "adapter": 4 << 30, "bundle": 64 << 30}
"""Bytes of a download, by its kind."""
_PUBLISHERS = 256
Result = TypeVar("Result")


@dataclass(frozen=True)
class Listing:
    """What a catalogue lists now. refused: why something in it is not among the entries, a line each."""

    entries: tuple[Entry, ...]
    refused: tuple[str, ...]
    trust: Trust

    def of(self, name: str) -> list[Entry]:
        """The versions of the pack called `name`."""
        return [entry for entry in self.entries if entry.name == name]


class Client:
    """A catalogue that was refreshed once. Raises CatalogueError, one line, whatever the servers send."""

    def __init__(self, source: Source, limits: Limits | None = None) -> None:
        """Get and verify its metadata from the first of its addresses that gives it.

        Raises CatalogueError if none does: expired, older than before, not signed by the trusted keys, not of one
        state, too large, too slow, out of reach.
        """
        self._source, self._limits = source, limits or Limits()
        self._folder = data_folder() / "catalogues" / source.identity
        self._fetcher = Fetcher(self._limits)
        self._addresses = [source.url, *source.mirrors]
        with locked(self._folder):
            for left in self._folder.glob("tmp*"):  # of an updater that was killed
                left.unlink()
            self._updater, url = self._first(self._refreshed)
            self._addresses.sort(key=lambda address: address != url)
            self.listing = self._list(url)

    def download(self, entry: Entry) -> Path:
        """The file of `entry`, downloaded or gone on with, its length and digest verified. Raises CatalogueError."""
        if entry.size > _LIMITS[entry.kind]:
            raise CatalogueError(
                f"{entry.title}: is larger than {_LIMITS[entry.kind]} bytes: no {entry.kind} duomem wrote"
            )
        part = part_file(entry)
        with locked(self._folder):
            target = self._guarded(lambda: self._updater.get_targetinfo(entry.path), self._addresses[0])
        if target is None or target.hashes.get("sha256") != entry.sha256 or target.length != entry.size:
            raise CatalogueError(f"{entry.title}: is not listed as it was a moment ago: try again")
        self._first(lambda url: self._fetched(url, target, part, entry.title))
        return part

    def _refreshed(self, url: str) -> tuple[Updater, str]:
        config = UpdaterConfig(
            max_root_rotations=64,
            max_delegations=_PUBLISHERS,
            root_max_length=ROOT_LIMIT,
            timestamp_max_length=16 << 10,
            snapshot_max_length=1_000_000,
            targets_max_length=5_000_000,
        )
        bootstrap = self._source.root_bytes()
        with self._fetcher.until(self._limits.seconds):
            updater = Updater(
                str(self._folder), f"{url}/metadata/", fetcher=self._fetcher, config=config, bootstrap=bootstrap
            )
            updater.refresh()
        return updater, url

    def _fetched(self, url: str, target: TargetFile, part: Path, title: str) -> None:
        folder, _, file = target.path.rpartition("/")
        self._fetcher.resume(f"{url}/targets/{folder}/{target.hashes['sha256']}.{file}", part, target.length, title)
        try:
            with open(part, "rb") as f:
                target.verify_length_and_hashes(f)
        except LengthOrHashMismatchError:
            part.unlink()
            raise

    def _first(self, ask: Callable[[str], Result]) -> Result:
        """What `ask` gets from the first address that gives it; its first fault if none does."""
        faults = []
        for url in self._addresses:
            try:
                return self._guarded(lambda url=url: ask(url), url)
            except CatalogueError as e:
                faults.append(e)
        raise faults[0]

    def _guarded(self, ask: Callable[[], Result], url: str) -> Result:
        try:
            return ask()
        except (RepositoryError, DownloadError, ValueError, KeyError, TypeError, RecursionError) as e:
            raise CatalogueError(f"{url}: {_said(e)}") from None

    def _list(self, url: str) -> Listing:
        entries: dict[str, Entry] = {}
        refused: list[str] = []
        top: Metadata[Targets] = self._verified("targets")
        root, timestamp, snapshot = (self._verified(role).signed for role in ("root", "timestamp", "snapshot"))
        self._take(top.signed, "", entries, refused)
        delegations = top.signed.delegations
        roles = dict((delegations.roles if delegations else None) or {})
        for name in sorted(roles)[:_PUBLISHERS]:
            probe = f"{name}/-/-"
            if not PUBLISHER.fullmatch(name) or name in RESERVED or not roles[name].is_delegated_path(probe):
                refused.append(f"{url}: a publisher's name or paths are not as duomem writes them: left out")
            elif f"{name}.json" in snapshot.meta:
                try:
                    with self._fetcher.until(self._limits.seconds):
                        self._guarded(lambda probe=probe: self._updater.get_targetinfo(probe), f"{url}: {name}")
                    self._take(self._verified(name).signed, name, entries, refused)
                except CatalogueError as e:
                    refused.append(str(e))
        keys = tuple(sorted(root.roles["root"].keyids))
        expires = timestamp.expires.date().isoformat()
        trust = Trust(self._source.url, self._source.identity, root.version, keys, timestamp.version, expires, today())
        return Listing(tuple(entries.values()), tuple(refused), trust)

    def _verified(self, role: str) -> Metadata[Any]:
        """What the updater has verified last of `role`."""
        return Metadata.from_file(str(self._folder / f"{quote(role, '')}.json"))

    @staticmethod
    def _take(targets: Targets, publisher: str, entries: dict[str, Entry], refused: list[str]) -> None:
        """Add what a role lists; a publisher only what is its own, and nothing that the catalogue lists itself."""
        for path, target in targets.targets.items():
            where = f"{publisher or 'catalogue'}: a pack in its list"
            try:
                entry = Entry.from_custom(path, target.length, target.hashes.get("sha256", ""), target.custom, where)
            except CatalogueError as e:
                refused.append(str(e))
                continue
            if publisher and not entry.name.startswith(f"{publisher}/"):
                refused.append(f"{where}: {entry.name} is not a name of its own: left out")
            else:
                entries.setdefault(path, entry)


def _said(error: Exception) -> str:
    """A fault of python-tuf's in words a user can do something with."""
    if isinstance(error, ExpiredMetadataError):
        return (
            "its metadata has expired: its keeper has not signed it again, somebody holds newer metadata back, or the "
            f"clock here, {today()}, is wrong: nothing is taken from it"
        )
    if isinstance(error, BadVersionNumberError):
        return "it offers older metadata than it gave before: a rollback, refused"
    if isinstance(error, UnsignedMetadataError):
        return "its metadata is not signed by the keys that are trusted: refused"
    if isinstance(error, LengthOrHashMismatchError):
        return "its files do not belong together or were changed: refused, try again later or another mirror"
    if isinstance(error, DownloadLengthMismatchError):
        return "it sends more bytes than it may: refused"
    if isinstance(error, SlowRetrievalError):
        return f"{error or 'it is too slow'}: cut off, the same command tries again"
    if isinstance(error, DownloadHTTPError):
        return f"{error}: check the address, or ask its keeper"
    if isinstance(error, DownloadError):
        return f"cannot be read: {error}"
    return "its metadata is damaged: refused"
