"""A catalogue's signed metadata on its publisher's disk: read and verify it, change it, sign it, write it in order.

Every file but timestamp.json is written under a new name, so a web server may serve the folder at any moment:
timestamp.json comes last and makes the rest the catalogue. Source: the TUF specification 1.0, consistent snapshots.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from duomem.core.errors import CatalogueError
from duomem.core.files import write_bytes
from duomem.memory_packs.catalogue.entry import RESERVED
from duomem.memory_packs.catalogue.keys import Keys
from duomem.memory_packs.catalogue.metadata_files import (
    check_signed,
    is_signed,
    load,
    parse,
    path_of,
    read_next_root,
    read_root,
    to_bytes,
)
from duomem.memory_packs.catalogue.tuf_api import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

TARGETS = "targets"
DAYS = {"root": 365, "targets": 365, "snapshot": 90, "timestamp": 30}
"""Days that the metadata of each role is valid; a publisher's as that of targets. The last is how long somebody between
a catalogue and its users can hold back what is new."""
_TIMESTAMP = "timestamp.json"
_NEXT_ROOT = "next.root.json"
"""The root of a rotation that is under way, for the next run where this one is killed; clients never ask for it."""


@dataclass
class Repository:
    """A catalogue's metadata, all of it verified from the first root on.

    folder: the catalogue. targets: by role, "targets" and each publisher's name; newer than what the snapshot lists
    where a role has signed more since.
    """

    folder: Path
    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: dict[str, Metadata[Targets]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Repository:
        """Read the catalogue in `folder`, and end a rotation that was cut short.

        Raises CatalogueError for what is damaged or not signed as it should be.
        """
        waiting = path_of(folder, _NEXT_ROOT)
        if not waiting.exists():
            return cls.read(folder, read_root(folder))
        try:  # killed before the timestamp of the old root was replaced, or after the next root was written
            repository = cls.read(folder, read_root(folder))
        except CatalogueError:
            repository = cls.read(folder, read_next_root(folder, _NEXT_ROOT))
            repository.write_root(repository.root)
        waiting.unlink(missing_ok=True)
        return repository

    @classmethod
    def read(cls, folder: Path, root: Metadata[Root]) -> Repository:
        """Read the catalogue in `folder`, believing `root`, and change nothing. Raises CatalogueError as `open`."""
        timestamp = parse(folder, _TIMESTAMP, Timestamp)
        snapshot = parse(folder, f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot)
        for metadata in (timestamp, snapshot):
            check_signed(folder, root.signed, metadata.signed.type, metadata)
        repository = cls(folder, root, timestamp, snapshot)
        repository._read_targets("targets")
        if "targets" not in repository.targets:
            raise CatalogueError(f"{folder}: its targets metadata is not signed by the keys of targets: copy it again")
        for role in repository.publishers:
            repository._read_targets(role)
        return repository

    @classmethod
    def create(cls, folder: Path, keys: Keys, threshold: int) -> Repository:
        """Write the first metadata: a root that `threshold` of its keys must sign, and nothing listed.

        Raises CatalogueError, before anything is written, if a role has no key or too few keys can sign.
        """
        begun = path_of(folder, "1.root.json").exists()  # by a run that was cut short; somebody may trust that root
        root = read_root(folder) if begun else Metadata(_first_root(folder, keys, threshold))
        for role in RESERVED:
            require(keys, root.signed.get_delegated_role(role), role)
        repository = cls(folder, root, Metadata(Timestamp()), Metadata(Snapshot()), {"targets": Metadata(Targets())})
        if not begun:
            sign(root, DAYS["root"], keys, [root.signed.get_delegated_role("root")])
            repository.write_root(root)
        repository.sign_targets("targets", keys)
        repository.publish(keys)
        return repository

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a catalogue was begun in `folder` and is complete."""
        return path_of(folder, _TIMESTAMP).exists()

    @property
    def publishers(self) -> dict[str, Any]:
        """The roles that others sign for, by name."""
        delegations = self.targets["targets"].signed.delegations
        return dict(delegations.roles or {}) if delegations else {}

    def delegator(self, role: str) -> Root | Targets:
        """Whose keys verify the targets of `role`."""
        return self.root.signed if role == "targets" else self.targets["targets"].signed

    def can_publish(self, keys: Keys) -> bool:
        """Whether `keys` can sign snapshot and timestamp."""
        roles = [self.root.signed.get_delegated_role(role) for role in ("snapshot", "timestamp")]
        return all(len(keys.signers.keys() & {*role.keyids}) >= role.threshold for role in roles)

    def sign_targets(self, role: str, keys: Keys, root: Root | None = None) -> None:
        """Sign the next version of `role`'s targets and write it; clients see it after `publish`.

        root: the next one, whose keys must sign then, the present one's too as far as they are held.
        """
        signed = self.targets[role].signed
        while path_of(self.folder, f"{signed.version}.{role}.json").exists():
            signed.version += 1
        delegators = [self.delegator(role)] if root is None else [root, self.root.signed]
        roles = [delegator.get_delegated_role(role) for delegator in delegators]
        sign(self.targets[role], DAYS["targets"], keys, roles[:1], roles[1:])
        self._write(f"{signed.version}.{role}.json", self.targets[role])

    def publish(self, keys: Keys, days: int = DAYS["timestamp"], root: Root | None = None) -> None:
        """Sign a snapshot of all targets, and a timestamp of it that lasts `days`, and write them; `root` as above."""
        snapshot, timestamp = self.snapshot.signed, self.timestamp.signed
        for role, metadata in self.targets.items():
            version = metadata.signed.version
            data = load(self.folder, f"{version}.{role}.json")
            snapshot.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
        while path_of(self.folder, f"{snapshot.version}.snapshot.json").exists():
            snapshot.version += 1
        roots = [self.root.signed] if root is None else [root, self.root.signed]
        roles = [each.get_delegated_role("snapshot") for each in roots]
        sign(self.snapshot, max(DAYS["snapshot"], days), keys, roles[:1], roles[1:])
        self._write(f"{snapshot.version}.snapshot.json", self.snapshot)
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, to_bytes(self.snapshot), ["sha256"])
        timestamp.version += self.exists(self.folder)
        roles = [each.get_delegated_role("timestamp") for each in roots]
        sign(self.timestamp, days, keys, roles[:1], roles[1:])
        self._write(_TIMESTAMP, self.timestamp)

    def announce_root(self, root: Metadata[Root]) -> None:
        """Keep `root`, signed by both roots' keys, until `write_root`: what is signed meanwhile may need it."""
        self._write(_NEXT_ROOT, root)

    def write_root(self, root: Metadata[Root]) -> None:
        """Make `root`, signed by both roots' keys, the catalogue's."""
        self._write(f"{root.signed.version}.root.json", root)
        self.root = root
        path_of(self.folder, _NEXT_ROOT).unlink(missing_ok=True)

    def _read_targets(self, role: str) -> None:
        """Take the newest version that is there and signed: a publisher, or a run that was killed, may have signed one
        that is not listed yet. There is none of a publisher whose key was replaced, until it signs again.
        """
        listed = self.snapshot.signed.meta.get(f"{role}.json")
        version = first = listed.version if listed else 1
        while (listed and version == first) or path_of(self.folder, f"{version}.{role}.json").exists():
            with contextlib.suppress(CatalogueError):
                metadata = parse(self.folder, f"{version}.{role}.json", Targets)
                if is_signed(self.delegator(role), role, metadata) and metadata.signed.version == version:
                    self.targets[role] = metadata
            version += 1

    def _write(self, name: str, metadata: Metadata[Any]) -> None:
        write_bytes(path_of(self.folder, name), to_bytes(metadata))


def sign(metadata: Metadata[Any], days: int, keys: Keys, needed: Sequence[Role], also: Sequence[Role] = ()) -> None:
    """Let `metadata` last `days` from now, and sign it with every key held of the roles `needed` and `also`.

    Raises CatalogueError if fewer than a needed role's threshold of keys is held.
    """
    for role in needed:
        require(keys, role, metadata.signed.type)
    metadata.signed.expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)
    metadata.signatures.clear()
    for keyid in dict.fromkeys(keyid for role in (*needed, *also) for keyid in role.keyids):
        if keyid in keys.signers:
            metadata.sign(keys.signers[keyid], append=True)


def require(keys: Keys, role: Role, name: str) -> None:
    """Raises CatalogueError if fewer private keys of `role`, called `name`, are held than must sign for it."""
    held = keys.signers.keys() & {*role.keyids}
    if len(held) < role.threshold:
        missing = sorted(keyid[:8] for keyid in {*role.keyids} - held)
        raise CatalogueError(
            f"{name} metadata needs {role.threshold} signatures, private keys for {len(held)} are here: give the "
            f"folder that holds {' or '.join(missing)} with --keys too"
        )


def _first_root(folder: Path, keys: Keys, threshold: int) -> Root:
    root = Root(consistent_snapshot=True)
    for role in RESERVED:
        found = keys.of_role(role)
        if not found:
            raise CatalogueError(
                f"{folder}: no key of {role} to begin this catalogue with: make one with `duomem pack keys new`"
            )
        for key in found:
            root.add_key(key, role)
    if threshold > len(root.roles["root"].keyids):
        raise CatalogueError(
            f"--threshold {threshold}: there are {len(root.roles['root'].keyids)} root keys: make more"
        )
    root.roles["root"].threshold = threshold
    return root
