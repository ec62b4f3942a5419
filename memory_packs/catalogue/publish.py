"""Publishing: packs, students and signatures into a static folder, rotation of keys, delegation to other publishers.

A version once published is never changed. A run that is killed leaves the catalogue as it was, or as it shall be.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import CatalogueError
from duomem.core.files import atomic_open, write_bytes
from duomem.memory_packs.catalogue.entry import RESERVED, Entry, newest, version_key
from duomem.memory_packs.catalogue.index_page import INDEX, index_page
from duomem.memory_packs.catalogue.keys import check_role, load_keys, new_key, read_public_key
from duomem.memory_packs.catalogue.lock import locked
from duomem.memory_packs.catalogue.offer import Offer, offer_pack
from duomem.memory_packs.catalogue.repository import DAYS, TARGETS, Repository, require, sign
from duomem.memory_packs.catalogue.student import Measured
from duomem.memory_packs.catalogue.tuf_api import DelegatedRole, Delegations, Metadata, TargetFile, Targets


@dataclass(frozen=True)
class Published:
    """What a run did. new: entries it added. unlisted: whether their listing waits for the catalogue's keeper, who
    holds the keys of snapshot and timestamp. expires: the day by which the catalogue must be signed again.
    """

    new: tuple[Entry, ...]
    unlisted: bool
    expires: str


def publish(
    folder: Path,
    packs: Sequence[Path],
    key_folders: Sequence[Path],
    publisher: str | None = None,
    threshold: int = 1,
    days: int = DAYS["timestamp"],
) -> Published:
    """Add packs to the catalogue in `folder`, begun if it is not there, and sign it anew.

    folder: static files for a web server. packs: .dmpack files; none signs again what is there. key_folders: where
    private keys are. publisher: whose packs these are, None for the catalogue's own. threshold: root keys that must
    sign a root, of a new catalogue. days: until the catalogue must be signed again.

    Raises CatalogueError for a version that is published with other content or is not higher, or a missing key;
    PackError for a damaged pack. Clients see nothing of the run then.
    """
    return publish_offers(
        folder, [offer_pack(pack, publisher) for pack in packs], key_folders, publisher, threshold, days
    )


def publish_offers(
    folder: Path,
    offers: Sequence[Offer],
    key_folders: Sequence[Path],
    publisher: str | None = None,
    threshold: int = 1,
    days: int = DAYS["timestamp"],
) -> Published:
    """As `publish`, of packs and students that were made ready to be published by `publisher`."""
    keys = load_keys(key_folders)
    with locked(folder):
        for left in Path(folder).rglob(".*.tmp"):  # of a run that was killed
            left.unlink()
        if Repository.exists(folder):
            repository = Repository.open(folder)
        elif publisher:
            raise CatalogueError(f"{folder}: no catalogue in it: its keeper begins it, then delegates to {publisher}")
        else:
            repository = Repository.create(folder, keys, threshold)
        role = publisher or "targets"
        if role != "targets" and role not in repository.publishers:
            raise CatalogueError(f"{folder}: no publisher {role}: its keeper adds one with `duomem pack keys delegate`")
        can_list = repository.can_publish(keys)
        new = ()
        if offers:
            require(keys, repository.delegator(role).get_delegated_role(role), role)
            metadata = repository.targets.setdefault(role, Metadata(Targets()))
            added = [offer for offer in offers if _add(metadata.signed, offer)]
            for offer in added:  # by digest: nothing that is published changes
                (prefixed,) = metadata.signed.targets[offer.entry.path].get_prefixed_paths()
                _write_target(Path(folder) / TARGETS / prefixed, offer)
            new = tuple(offer.entry for offer in added)
            if new:
                repository.sign_targets(role, keys)
        elif not can_list:
            raise CatalogueError(
                f"{folder}: the keys of snapshot and timestamp are not here: give their folder with --keys"
            )
        if can_list:
            repository.publish(keys, days)
            _write_page(repository)
        return Published(new, not can_list, repository.timestamp.signed.expires.date().isoformat())


def _add(targets: Targets, offer: Offer) -> bool:
    """List what is offered in `targets`; whether it was not listed already."""
    entry = offer.entry
    listed = targets.targets.get(entry.path)
    if listed is not None and listed.hashes.get("sha256") == entry.sha256:
        return False
    before = newest(other for other in _entries(targets)[0] if other.name == entry.name)
    if before and before.kind != entry.kind:
        raise CatalogueError(f"{offer.where}: {entry.name} is published as a {before.kind}: give another name")
    if before and (version_key(entry.version) or ()) <= (version_key(before.version) or ()):
        raise CatalogueError(
            f"{offer.where}: {entry.name} {before.version} is published, and a version is never changed: give a "
            "higher --version"
        )
    target = TargetFile(entry.size, {"sha256": entry.sha256}, entry.path, {"custom": entry.custom()})
    targets.targets[entry.path] = target
    return True


def _write_target(path: Path, offer: Offer) -> None:
    with atomic_open(path) as f:
        written = Measured(f)
        offer.write(written)
        if written.sha256 != offer.entry.sha256:
            raise CatalogueError(f"{offer.where}: changed while it was read: publish it again")


def _entries(targets: Targets) -> tuple[list[Entry], list[str]]:
    """What is listed, and why anything listed is no pack."""
    found, wrong = [], []
    for path, target in targets.targets.items():
        try:
            sha256 = target.hashes.get("sha256", "")
            found.append(Entry.from_custom(path, target.length, sha256, target.custom, path))
        except CatalogueError as e:
            wrong.append(str(e))
    return found, wrong


def _write_page(repository: Repository) -> None:
    entries = [entry for metadata in repository.targets.values() for entry in _entries(metadata.signed)[0]]
    entries.sort(key=lambda entry: version_key(entry.version) or (), reverse=True)
    entries.sort(key=lambda entry: entry.name)
    roots = sorted(repository.root.signed.roles["root"].keyids)
    page = index_page(entries, roots, repository.timestamp.signed.expires.date().isoformat())
    write_bytes(repository.folder / INDEX, page.encode())


def rotate(
    folder: Path, role: str, key_folders: Sequence[Path], retire: Sequence[str] = (), threshold: int | None = None
) -> list[str]:
    """Replace keys of one of the catalogue's roles by new ones, written to the first of `key_folders`.

    role: root, targets, snapshot or timestamp. retire: beginnings of the ids of the keys to replace, none for all.
    threshold: for root: keys that must sign from now on.

    Returns the ids of the new keys. Root N + 1 is signed by the keys of both roots. Raises CatalogueError if too few
    of the root's keys are here, or retire names no key.
    """
    if role not in RESERVED:
        raise CatalogueError(f"--role {role}: only {', '.join(RESERVED)} are rotated: delegate again to a publisher")
    keys = load_keys(key_folders)
    with locked(folder):
        repository = Repository.open(folder)
        old = repository.root.signed
        present = old.get_delegated_role(role).keyids
        replaced = [keyid for keyid in present if not retire or keyid.startswith(tuple(retire))]
        if not replaced or not all(any(keyid.startswith(part) for keyid in present) for part in retire):
            raise CatalogueError(f"--retire {' '.join(retire)}: {role} has the keys {' '.join(k[:8] for k in present)}")
        for name in ("root",) if role == "root" else ("root", *_needed_beside(role)):
            require(keys, old.get_delegated_role(name), name)
        root = copy.deepcopy(old)
        root.version += 1
        for keyid in replaced:
            root.revoke_key(keyid, role)
        made = [new_key(key_folders[0], role) for _ in replaced]
        for key in made:
            root.add_key(key, role)
        if role == "root" and threshold is not None:
            if threshold > len(root.roles["root"].keyids):
                raise CatalogueError(f"--threshold {threshold}: there are {len(root.roles['root'].keyids)} root keys")
            root.roles["root"].threshold = threshold
        keys = load_keys(key_folders)
        signed = Metadata(root)
        sign(signed, DAYS["root"], keys, [old.get_delegated_role("root"), root.get_delegated_role("root")])
        repository.announce_root(signed)
        if role == "targets":
            repository.sign_targets("targets", keys, root)
        if role != "root":
            repository.publish(keys, root=root)
        repository.write_root(signed)
        _write_page(repository)
        return [key.keyid for key in made]


def _needed_beside(role: str) -> tuple[str, ...]:
    """The roles that sign anew when `role` has other keys, beside itself: its own old key may be lost."""
    return tuple(name for name in ("snapshot", "timestamp") if name != role)


def delegate(folder: Path, publisher: str, public_keys: Sequence[Path], key_folders: Sequence[Path]) -> None:
    """Let a publisher sign for packs called PUBLISHER/NAME in this catalogue, with any one of these keys and no other.

    Raises CatalogueError for a name of a role of the catalogue itself, a wrong public key, or a missing key.
    """
    check_role(publisher)
    if publisher in RESERVED:
        raise CatalogueError(f"{publisher}: is a role of the catalogue itself: give the publisher another name")
    found = [read_public_key(file)[1] for file in public_keys]
    keys = load_keys(key_folders)
    with locked(folder):
        repository = Repository.open(folder)
        targets = repository.targets["targets"].signed
        for name in ("targets", "snapshot", "timestamp"):
            require(keys, repository.root.signed.get_delegated_role(name), name)
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        roles = targets.delegations.roles
        assert roles is not None
        for keyid in list(roles[publisher].keyids) if publisher in roles else ():
            targets.revoke_key(keyid, publisher)
        roles[publisher] = DelegatedRole(publisher, [], 1, True, paths=[f"{publisher}/*/*"])
        for key in found:
            targets.add_key(key, publisher)
        repository.sign_targets("targets", keys)
        repository.publish(keys)
        _write_page(repository)
