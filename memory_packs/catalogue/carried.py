"""The signed metadata of an installed pack, taken along with it: verified again where there is no network.

A folder as a catalogue's own, without the packs. What is past its time is told, never refused.
"""

from __future__ import annotations

from pathlib import Path

from duomem.core.errors import CatalogueError
from duomem.core.files import sha256_file, write_bytes
from duomem.core.reading import open_regular, parse_json
from duomem.core.user_folders import data_folder
from duomem.memory_packs.catalogue.entry import Entry
from duomem.memory_packs.catalogue.metadata_files import first_root, load, path_of, read_root
from duomem.memory_packs.catalogue.repository import Repository
from duomem.memory_packs.catalogue.sources import ROOT_LIMIT, Source
from duomem.memory_packs.catalogue.store import Installed, Trust, today
from duomem.memory_packs.catalogue.tuf_api import Metadata, RepositoryError

_LIMIT = 5_000_000


def carry(found: Installed, out: Path) -> None:
    """Write into the folder `out` the metadata that vouched for `found` when its catalogue was asked last.

    That is every root from the one its user trusted on, timestamp, snapshot, targets and the publisher's targets, each
    by its version. Raises CatalogueError if they are not there any more, or do not vouch for the pack's file.
    """
    kept = data_folder() / "catalogues" / found.trust.identity
    publisher = found.name.rpartition("/")[0]
    roles = ["snapshot", "targets", *([publisher] if publisher else [])]
    files = {file.name: file for file in (kept / "root_history").glob("*.root.json")}
    try:
        for role in roles:
            version = Metadata.from_bytes(_bytes(kept / f"{role}.json")).signed.version
            files[f"{version}.{role}.json"] = kept / f"{role}.json"
        files["timestamp.json"] = kept / "timestamp.json"
        for name, file in files.items():
            write_bytes(path_of(out, name), _bytes(file))
    except (OSError, RepositoryError):
        raise CatalogueError(
            f"{kept}: the metadata of {found.name} is not there any more: `duomem pack pull {found.name}` gets it"
        ) from None
    if carried(out, found.path)[0].title != f"{found.name} {found.version}":
        raise CatalogueError(f"{found.name}: its catalogue lists this file by another name: pull it again")


def carried(folder: Path, pack: Path) -> tuple[Entry, Trust]:
    """What the metadata in `folder` says of the file `pack`, and who vouches for it. No network, no clock needed.

    Every signature is verified, from the first root in `folder` on: compare trust.identity with a catalogue's. Raises
    CatalogueError if one is missing, or none of what is listed has the file's size and digest.
    """
    repository = Repository.read(folder, read_root(folder))
    size, sha256 = pack.stat().st_size, sha256_file(pack)
    for role, metadata in repository.targets.items():
        for path, target in metadata.signed.targets.items():
            if (target.length, target.hashes.get("sha256")) != (size, sha256):
                continue
            entry = Entry.from_custom(path, size, sha256, target.custom, f"{folder}: {role}")
            if role == "targets" or entry.name.startswith(f"{role}/"):
                return entry, _trust(folder, repository)
    raise CatalogueError(f"{pack}: the metadata in {folder} does not vouch for this file: take another copy")


def _trust(folder: Path, repository: Repository) -> Trust:
    root, timestamp = repository.root.signed, repository.timestamp.signed
    return Trust(
        folder.resolve().as_uri(),
        Source("", parse_json(load(folder, first_root(folder)), str(folder), ROOT_LIMIT)).identity,
        root.version,
        tuple(sorted(root.roles["root"].keyids)),
        timestamp.version,
        timestamp.expires.date().isoformat(),
        today(),
    )


def _bytes(file: Path) -> bytes:
    with open_regular(file) as f:
        return f.read(_LIMIT)
