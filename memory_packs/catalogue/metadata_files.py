"""A catalogue's metadata files on its publisher's disk: each is parsed, bounded and verified by who delegates to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from duomem.core.errors import CatalogueError
from duomem.core.reading import open_regular
from duomem.memory_packs.catalogue.tuf_api import JSONSerializer, Metadata, RepositoryError, Root, Targets

METADATA = "metadata"
_LIMIT = 5_000_000
_ROOTS = 1000
_ROOT = re.compile(r"[1-9]\d{0,3}\.root\.json", re.ASCII)


def path_of(folder: Path, name: str) -> Path:
    """Where the metadata file `name` of the catalogue in `folder` is."""
    return Path(folder) / METADATA / name


def to_bytes(metadata: Metadata[Any]) -> bytes:
    """`metadata` as its file."""
    return metadata.to_bytes(JSONSerializer(compact=False))


def load(folder: Path, name: str) -> bytes:
    """A metadata file's bytes. Raises CatalogueError if it cannot be read or is too large."""
    path = path_of(folder, name)
    try:
        with open_regular(path) as f:
            data = f.read(_LIMIT + 1)
    except OSError as e:
        raise CatalogueError(f"{path}: cannot read this catalogue: {e.strerror or e}") from None
    if len(data) > _LIMIT:
        raise CatalogueError(f"{path}: is larger than {_LIMIT} bytes: copy the catalogue again")
    return data


def parse(folder: Path, name: str, kind: type[Any]) -> Metadata[Any]:
    """A metadata file of `kind`, its signatures not looked at. Raises CatalogueError for anything else."""
    data = load(folder, name)
    try:
        metadata = Metadata.from_bytes(data)
    except RepositoryError:
        metadata = None
    if metadata is None or not isinstance(metadata.signed, kind):
        raise CatalogueError(f"{path_of(folder, name)}: is no {kind.type} metadata: copy the catalogue again")
    return metadata


def is_signed(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    """Whether enough of the keys that `delegator` gives `role` have signed `metadata`."""
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def check_signed(folder: Path, delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> None:
    """Raises CatalogueError unless `is_signed`."""
    if not is_signed(delegator, role, metadata):
        raise CatalogueError(
            f"{Path(folder) / METADATA}: the {role} metadata of version {metadata.signed.version} is not signed by the "
            "keys of that role: copy the catalogue again"
        )


def first_root(folder: Path) -> str:
    """The name of the oldest root: the first, but for metadata that was taken along."""
    found = [file.name for file in (Path(folder) / METADATA).glob("*.root.json") if _ROOT.fullmatch(file.name)]
    return min(found, key=lambda name: int(name.partition(".")[0]), default="1.root.json")


def read_root(folder: Path) -> Metadata[Root]:
    """The newest root, each signed by the keys of the one before. Raises CatalogueError."""
    root = parse(folder, first_root(folder), Root)
    check_signed(folder, root.signed, "root", root)
    while root.signed.version < _ROOTS and path_of(folder, f"{root.signed.version + 1}.root.json").exists():
        root = _following(folder, root, f"{root.signed.version + 1}.root.json")
    return root


def read_next_root(folder: Path, name: str) -> Metadata[Root]:
    """The root in the file `name`, signed to follow the newest. Raises CatalogueError."""
    return _following(folder, read_root(folder), name)


def _following(folder: Path, root: Metadata[Root], name: str) -> Metadata[Root]:
    following = parse(folder, name, Root)
    for delegator in (root.signed, following.signed):
        check_signed(folder, delegator, "root", following)
    if following.signed.version != root.signed.version + 1:
        raise CatalogueError(f"{Path(folder) / METADATA}: versions of root metadata do not follow each other")
    return following
