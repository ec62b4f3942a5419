"""Signing keys as files: ROLE-ID.pem holds the private key, for its owner's eyes only, ROLE-ID.pub.json the public one.

Ed25519. A folder may hold keys of several roles; several folders may be used together (a root key on its own disk).
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import CatalogueError
from duomem.core.files import read_json, write_json
from duomem.memory_packs.catalogue.entry import PUBLISHER, RESERVED
from duomem.memory_packs.catalogue.tuf_api import (
    CryptoSigner,
    Ed25519PublicKey,
    Key,
    KeyFault,
    SSlibKey,
    load_pem_private_key,
)

_LIMIT = 16 << 10
_FILES = 200
_SHORT = 8


@dataclass(frozen=True)
class Keys:
    """The keys in some folders: public ones by role and id, signers (private keys) by id."""

    public: dict[str, dict[str, Key]]
    signers: dict[str, CryptoSigner]

    def of_role(self, role: str) -> list[Key]:
        """The role's public keys, by id."""
        return [key for _, key in sorted(self.public.get(role, {}).items())]


def check_role(role: str) -> None:
    """Raises CatalogueError if `role` is neither one of a catalogue nor the name of a publisher."""
    if not PUBLISHER.fullmatch(role):
        raise CatalogueError(
            f"{role}: no role: give {', '.join(RESERVED)}, or a publisher's name of lower case letters, digits and '-'"
        )


def new_key(folder: Path, role: str) -> Key:
    """Make a key pair for `role` in `folder` and return the public key. Raises CatalogueError for a wrong role."""
    check_role(role)
    signer = CryptoSigner.generate_ed25519()
    stem = Path(folder) / f"{role}-{signer.public_key.keyid[:_SHORT]}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    _write_private(stem.with_name(f"{stem.name}.pem"), signer.private_bytes)
    public = {"role": role, "ed25519": signer.public_key.keyval["public"]}
    write_json(stem.with_name(f"{stem.name}.pub.json"), public)
    return signer.public_key


def load_keys(folders: Sequence[Path]) -> Keys:
    """The keys in `folders`. Raises CatalogueError for a folder without any, a damaged key, or one others can read."""
    public: dict[str, dict[str, Key]] = {}
    signers: dict[str, CryptoSigner] = {}
    for folder in map(Path, folders):
        files = sorted(folder.glob("*.pub.json"))
        if not files:
            raise CatalogueError(f"{folder}: no keys in it: make some with `duomem pack keys new {folder}`")
        if len(files) > _FILES:
            raise CatalogueError(f"{folder}: more than {_FILES} keys in it: give a folder of the keys you sign with")
        for file in files:
            role, key = read_public_key(file)
            public.setdefault(role, {})[key.keyid] = key
            private = file.with_name(file.name.removesuffix(".pub.json") + ".pem")
            if private.exists():
                signers[key.keyid] = _read_private(private, key)
    return Keys(public, signers)


def read_public_key(file: Path) -> tuple[str, Key]:
    """The role and key in a .pub.json file. Raises CatalogueError if it is none, FileError if it is not there."""
    told = read_json(file, "public key", _LIMIT)
    role, value = (told.get("role"), told.get("ed25519")) if isinstance(told, dict) else (None, None)
    if not isinstance(role, str) or not PUBLISHER.fullmatch(role):
        raise CatalogueError(f"{file}: field role is none of a catalogue: copy the public key again")
    try:
        return role, SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(value))))
    except (ValueError, KeyFault):
        raise CatalogueError(f"{file}: field ed25519 is no public key: copy it again") from None


def _read_private(file: Path, public: Key) -> CryptoSigner:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as f:
            status = os.fstat(f.fileno())
            data = f.read(_LIMIT) if stat.S_ISREG(status.st_mode) else b""
    except OSError as e:
        raise CatalogueError(f"{file}: cannot read this private key: {e.strerror or e}") from None
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise CatalogueError(f"{file}: others can read this private key: chmod 600 {file}")
    try:
        signer = CryptoSigner(load_pem_private_key(data, None))  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyFault):
        raise CatalogueError(f"{file}: is no private key made by `duomem pack keys new`") from None
    if signer.public_key.keyid != public.keyid:
        raise CatalogueError(f"{file}: is not the private key of the public one beside it: copy both again")
    return signer


def _write_private(file: Path, data: bytes) -> None:
    """Whole or absent, and never readable by others."""
    fd, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
