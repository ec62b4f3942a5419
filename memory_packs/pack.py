"""The `.dmpack` file: a zip of `manifest.json` and `memories.jsonl`, written whole, read as hostile.

Same memories, same bytes: nothing in a pack depends on when or where it was built.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import parse_json, sha256_bytes, write_bytes
from duomem.memory_packs.memory import Memory, memory_from_json

FORMAT = "duomem-pack"
SCHEMA = 1

_MANIFEST = "manifest.json"
_MEMORIES = "memories.jsonl"
_FILE_LIMIT = 64 << 20
_MANIFEST_LIMIT = 1 << 20
_MEMORIES_LIMIT = 256 << 20


@dataclass(frozen=True)
class Pack:
    """name; author: who played what the memories tell ("expert/1", "student:NAME"); source: digest of the
    trajectory file; digest: sha256 of the pack file, hex.
    """

    name: str
    author: str
    source: str
    memories: tuple[Memory, ...]
    digest: str


def write_pack(path: Path, name: str, author: str, source: str, memories: Sequence[Memory]) -> Pack:
    """Write the pack to `path` atomically and return it as read back."""
    body = "".join(json.dumps(m.to_json(), sort_keys=True, ensure_ascii=False) + "\n" for m in memories).encode()
    manifest = {"format": FORMAT, "schema": SCHEMA, "name": name, "author": author, "source": source,
                "memories": {"file": _MEMORIES, "sha256": sha256_bytes(body), "bytes": len(body),
                             "count": len(memories)}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for member, data in ((_MANIFEST, json.dumps(manifest, indent=2, sort_keys=True).encode()), (_MEMORIES, body)):
            info = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    write_bytes(path, buffer.getvalue())
    return read_pack(path)


def read_pack(path: Path) -> Pack:
    """Read and verify a pack. Raises UserError naming the file and what is wrong; nothing is extracted."""
    path = Path(path)
    try:
        with open(path, "rb") as f:
            data = f.read(_FILE_LIMIT + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such memory pack: check the path or build one with `duomem pack build`") from None
    except OSError as e:
        raise UserError(f"{path}: cannot read this memory pack: {e.strerror or e}") from None
    if len(data) > _FILE_LIMIT:
        raise UserError(f"{path}: memory pack is larger than {_FILE_LIMIT} bytes: not one duomem wrote")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info.filename for info in archive.infolist()]
            if sorted(names) != [_MANIFEST, _MEMORIES]:
                raise UserError(f"{path}: memory pack must hold {_MANIFEST} and {_MEMORIES} only: download it again")
            manifest = parse_json(_member(archive, _MANIFEST, _MANIFEST_LIMIT, path), f"{path}: {_MANIFEST}",
                                  _MANIFEST_LIMIT)
            body = _member(archive, _MEMORIES, _MEMORIES_LIMIT, path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, ValueError, NotImplementedError,
            RuntimeError, OverflowError) as e:
        raise UserError(f"{path}: memory pack is damaged ({e}): download it again") from None
    except Exception as e:
        if isinstance(e, UserError) or type(e).__module__ != "zlib":
            raise
        raise UserError(f"{path}: memory pack is damaged ({e}): download it again") from None
    _check_manifest(manifest, body, path)
    rows = [line for line in body.decode("utf-8").split("\n") if line]
    if len(rows) != manifest["memories"]["count"]:
        raise UserError(f"{path}: field memories.count says {manifest['memories']['count']}, the pack holds "
                        f"{len(rows)}: download it again")
    memories = tuple(
        memory_from_json(parse_json(row.encode(), f"{path}: {_MEMORIES} line {n}", 1 << 20),
                         f"{path}: {_MEMORIES} line {n}") for n, row in enumerate(rows, 1))
    return Pack(manifest["name"], manifest["author"], manifest["source"], memories, sha256_bytes(data))


def _member(archive: zipfile.ZipFile, name: str, limit: int, path: Path) -> bytes:
    """Uncompressed bytes of a member, never more than `limit`, whatever its header claims."""
    with archive.open(name) as f:
        data = f.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"{path}: {name} unpacks to more than {limit} bytes: not a pack duomem wrote")
    return data


def _check_manifest(manifest: Any, body: bytes, path: Path) -> None:
    def refuse(field: str, why: str) -> UserError:
        return UserError(f"{path}: {_MANIFEST} field {field} {why}: download the pack again")

    if not isinstance(manifest, dict):
        raise UserError(f"{path}: {_MANIFEST} is not a JSON object: download the pack again")
    if manifest.get("format") != FORMAT:
        raise refuse("format", f"is not {FORMAT!r}")
    if manifest.get("schema") != SCHEMA:
        raise UserError(f"{path}: {_MANIFEST} field schema is {manifest.get('schema')!r}, this duomem reads {SCHEMA}: "
                        "update duomem or download a matching pack")
    for field in ("name", "author", "source"):
        value = manifest.get(field)
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise refuse(field, "is not a line of at most 200 characters")
    memories = manifest.get("memories")
    if not isinstance(memories, dict) or not isinstance(memories.get("count"), int):
        raise refuse("memories", "does not describe the memories")
    if memories.get("bytes") != len(body) or memories.get("sha256") != sha256_bytes(body):
        raise refuse("memories.sha256", f"does not match {_MEMORIES}")
