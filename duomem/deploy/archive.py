"""A bundle as one file: a .tar.gz that depends on its contents alone, and its extractor, which trusts nothing in it.

bundle.json comes first, so that every other member is known, with its size and digest, before it is written.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from pathlib import Path
from typing import Any

from duomem.core.errors import BundleError
from duomem.core.files import atomic_folder, atomic_open
from duomem.core.reading import parse_json
from duomem.core.ustar import check_end, member_pieces, next_member, write_ustar
from duomem.device.engine.bundle import Bundle, read_bundle
from duomem.device.engine.manifest import FOLDERS, MANIFEST, MANIFEST_LIMIT, check_manifest

_MOST_RATIO = 50
_SMALL = 64 << 20
"""Weights hardly compress: what unpacks to more than this and so many times its size is no bundle."""
_TOP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PROGRAMS = ("install.sh", "play", "bench", "check", "serve")


def write_archive(bundle: Bundle, path: Path) -> None:
    """Write the bundle to `path` below one folder of the bundle's name: no dates, no owners, sorted."""
    top = bundle.folder.resolve().name
    if not _TOP.fullmatch(top):
        raise BundleError(f"{bundle.folder}: an archive needs a plain folder name, as phone: rename it")
    files = [
        (f"{top}/{name}", bundle.folder / name, 0o755 if name in _PROGRAMS else 0o644)
        for name in (MANIFEST, *sorted(bundle.manifest["files"]))
    ]
    with atomic_open(path) as f, gzip.GzipFile("", "wb", 6, f, mtime=0) as packed:
        write_ustar(packed, files)


def unpack_archive(path: Path, out: Path) -> Bundle:
    """Unpack a bundle's archive into the folder `out`, which exists only once everything in it is verified.

    Takes plain files alone, below one folder, bundle.json first and then exactly what that lists, each once, of its
    size and digest. Raises BundleError or FileError for anything else; then `out` is as it was.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BundleError(f"--out {out}: exists: give another folder, or remove it")
    try:
        with open(path, "rb") as f, gzip.GzipFile(fileobj=f) as packed, atomic_folder(out) as work:
            manifest = _unpack(path, packed, os.fstat(f.fileno()).st_size, work)
            for name in FOLDERS:
                (work / name).mkdir(exist_ok=True)
            read_bundle(work)
    except (FileNotFoundError, IsADirectoryError) as e:
        raise BundleError(f"{path}: cannot be read ({e.strerror}): give a file made by duomem kit make") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise BundleError(f"{path}: is no whole archive of a bundle ({e}): copy it again") from None
    return Bundle(out, manifest)


def _unpack(path: Path, packed: gzip.GzipFile, packed_size: int, work: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = {}
    top, left = "", {}
    while (member := next_member(path, packed)) is not None:
        folder, _, name = member.name.partition("/")
        if not _TOP.fullmatch(folder) or folder != (top or folder):
            raise BundleError(f"{path}: {member.name!r} is no plain file of its bundle: take another copy")
        if not top:
            if name != MANIFEST or member.size > MANIFEST_LIMIT:
                raise BundleError(f"{path}: does not begin with {MANIFEST}: give a file made by duomem kit make")
            data = b"".join(member_pieces(packed, member.size))
            manifest = check_manifest(parse_json(data, f"{path}: {MANIFEST}", MANIFEST_LIMIT), path / MANIFEST)
            (work / MANIFEST).write_bytes(data)
            top, left = folder, dict(manifest["files"])
            if sum(entry["size"] for entry in left.values()) > _SMALL + _MOST_RATIO * packed_size:
                raise BundleError(f"{path}: unpacks to more than {_MOST_RATIO} times its size: take another copy")
            continue
        if name not in left:
            raise BundleError(f"{path}: {member.name!r} is there twice or not listed in {MANIFEST}: take another copy")
        expected = left.pop(name)
        if member.size != expected["size"]:
            raise BundleError(
                f"{path}: {name} is {member.size} bytes, {MANIFEST} says {expected['size']}: copy it again"
            )
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with open(target, "xb") as file:
            for piece in member_pieces(packed, member.size):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != expected["sha256"]:
            raise BundleError(f"{path}: the SHA-256 of {name} is not the one in {MANIFEST}: copy it again")
        if name in _PROGRAMS:
            target.chmod(0o755)
    check_end(path, packed)
    if left:
        raise BundleError(f"{path}: holds no {min(left)}: copy it again")
    return manifest


def archive_of(folder: Path) -> Path:
    """Where the archive of the bundle in `folder` stands: beside it."""
    return folder.with_name(f"{folder.name}.tar.gz")
