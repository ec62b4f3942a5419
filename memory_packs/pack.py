"""The `.dmpack` file: a zip of `manifest.json`, `memories.jsonl` and maybe `lexicon.json`, read as hostile.

Same memories, same bytes: nothing in a pack depends on when or where it was built. docs/pack-format.md describes it.
"""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from duomem.core.errors import PackError
from duomem.core.files import write_bytes
from duomem.core.reading import digest_of, open_regular, parse_json, sha256_bytes
from duomem.memory_packs.entries import read_entries, write_entries
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.manifest import (
    FORMAT,
    SCHEMA,
    UNRELEASED,
    Release,
    Teacher,
    manifest_from_json,
    manifest_to_json,
)
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever

_MANIFEST = "manifest.json"
_MEMORIES = "memories.jsonl"
_LEXICON = "lexicon.json"
_FILE_LIMIT = 4 << 20
_MANIFEST_LIMIT = 64 << 10
_MEMORIES_LIMIT = 8 << 20
_LEXICON_LIMIT = 2 << 20
_DIRECTORY_LIMIT = 1 << 10
_COUNT_LIMIT = 20_000
_ONLY = f"memory pack must hold {_MANIFEST}, {_MEMORIES} and maybe {_LEXICON} only: download it again"
_END = struct.Struct("<4s4H2LH")  # the end record of a zip
_LONG_END = b"PK\x06\x07"


@dataclass(frozen=True, kw_only=True)
class Pack(Release):
    """Procedural memories as one file, and what it says of itself.

    name: given when it was built. teacher: who played what the memories tell. source: SHA-256 of the trajectory file,
    hex. digest: SHA-256 of the pack file, hex. content_digest: of its memories and lexicon alone, hex: packs that play
    the same have the same, whatever else they say of themselves. lexicon: how people call what the memories are about,
    None if nothing was learned of it.
    """

    name: str
    teacher: Teacher
    source: str
    memories: tuple[Memory, ...]
    digest: str
    content_digest: str
    lexicon: Lexicon | None = None

    @property
    def author(self) -> str:
        """The teacher as trajectories name their player ("expert/1", "student:NAME")."""
        return str(self.teacher)

    @classmethod
    def load(cls, path: Path | str) -> Pack:
        """Read and verify a .dmpack file; nothing is extracted. Raises PackError naming the file and the fault."""
        return read_pack(path)

    def search(self, task: str, k: int = 1, places: Collection[str] = ()) -> list[tuple[float, Memory]]:
        """At most `k` memories for a goal sentence ("put the red rag into the tub"), best first; see Retriever.search.

        places: kinds of receptacles in the room, if known. Returns pairs (nearness in (0, 1], memory).
        """
        return self.retriever.search(task, k, places=places)

    @cached_property
    def retriever(self) -> Retriever:
        """The index over its memories."""
        return Retriever(self.memories, self.lexicon)


def write_pack(
    path: Path,
    name: str,
    teacher: Teacher | str,
    source: str,
    memories: Sequence[Memory],
    lexicon: Lexicon | None = None,
    release: Release = UNRELEASED,
) -> Pack:
    """Write the pack to `path` atomically and return it as it reads back. Raises PackError, and writes nothing,
    if it could not be read back.

    teacher: also as trajectories name a player. release: what the pack says of itself beyond that.
    """
    teacher = Teacher.of(teacher) if isinstance(teacher, str) else teacher
    body = write_entries(memories)
    members = {_MEMORIES: body}
    manifest = manifest_to_json(name, teacher, source, release)
    described = {"file": _MEMORIES, "sha256": sha256_bytes(body), "bytes": len(body), "count": len(memories)}
    manifest["memories"] = described
    if lexicon is not None:
        data = json.dumps(lexicon.to_json(), sort_keys=True, separators=(",", ":")).encode()
        members[_LEXICON] = data
        manifest["lexicon"] = {"file": _LEXICON, "sha256": sha256_bytes(data), "bytes": len(data)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        members = {_MANIFEST: json.dumps(manifest, indent=2, sort_keys=True).encode(), **members}
        for member, data in members.items():
            info = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # else it tells where the pack was made
            archive.writestr(info, data)
    pack = _parse(buffer.getvalue(), Path(path))
    write_bytes(path, buffer.getvalue())
    return pack


def read_pack(path: Path | str) -> Pack:
    """Read and verify a pack. Raises PackError naming the file and what is wrong; nothing is extracted."""
    path = Path(path)
    try:
        with open_regular(path) as f:
            data = f.read(min(os.fstat(f.fileno()).st_size, _FILE_LIMIT) + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PackError(f"{path}: no such memory pack: check the path or build one with `duomem pack build`") from None
    except OSError as e:
        raise PackError(f"{path}: cannot read this memory pack: {e.strerror or e}") from None
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> Pack:
    if len(data) > _FILE_LIMIT:
        raise PackError(f"{path}: memory pack is larger than {_FILE_LIMIT} bytes: not one duomem wrote")
    _check_end(data, path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = sorted(m.filename for m in members)
            known = sorted({_MANIFEST, _MEMORIES, _LEXICON}.intersection(names))
            if names != known or not {_MANIFEST, _MEMORIES} <= set(names) or not all(map(_is_plain, members)):
                raise PackError(f"{path}: {_ONLY}")
            manifest = parse_json(
                _member(archive, _MANIFEST, _MANIFEST_LIMIT, path), f"{path}: {_MANIFEST}", _MANIFEST_LIMIT
            )
            body = _member(archive, _MEMORIES, _MEMORIES_LIMIT, path)
            words = _member(archive, _LEXICON, _LEXICON_LIMIT, path) if _LEXICON in names else None
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OverflowError,
    ) as e:
        raise PackError(f"{path}: memory pack is damaged ({e}): download it again") from None
    name, teacher, source, release = _read_manifest(manifest, body, words, path)
    where = f"{path}: {_LEXICON}"
    return Pack(
        **vars(release),
        name=name,
        teacher=teacher,
        source=source,
        memories=read_entries(body, f"{path}: {_MEMORIES}"),
        digest=sha256_bytes(data),
        content_digest=digest_of(
            {"lexicon": None if words is None else sha256_bytes(words), "memories": sha256_bytes(body)}
        ),
        lexicon=None if words is None else Lexicon.from_json(parse_json(words, where, _LEXICON_LIMIT), where),
    )


def _check_end(data: bytes, path: Path) -> None:
    """Zipfile builds an object for every member of a directory, so first: this one is of two or three members."""
    end = data[-_END.size :]
    if len(end) < _END.size or end[:4] != b"PK\5\6":
        raise PackError(f"{path}: memory pack is damaged (it does not end as a zip does): download it again")
    _, _, _, _, members, size, _, comment = _END.unpack(end)
    if members not in (2, 3) or size > _DIRECTORY_LIMIT or comment or data[-_END.size - 20 :][:4] == _LONG_END:
        raise PackError(f"{path}: {_ONLY}")


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """A regular file, packed as write_pack does."""
    return info.compress_type == zipfile.ZIP_DEFLATED and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)


def _member(archive: zipfile.ZipFile, name: str, limit: int, path: Path) -> bytes:
    """Uncompressed bytes of a member, never more than `limit`, whatever its header claims."""
    with archive.open(name) as f:
        data = f.read(limit + 1)
    if len(data) > limit:
        raise PackError(f"{path}: {name} unpacks to more than {limit} bytes: not a pack duomem wrote")
    return data


def _read_manifest(manifest: Any, body: bytes, words: bytes | None, path: Path) -> tuple[str, Teacher, str, Release]:
    """What manifest_from_json reads, once the manifest is known to describe these members."""

    def refuse(field: str, why: str) -> PackError:
        return PackError(f"{path}: {_MANIFEST} field {field} {why}: download the pack again")

    if not isinstance(manifest, dict):
        raise PackError(f"{path}: {_MANIFEST} is not a JSON object: download the pack again")
    if manifest.get("format") != FORMAT:
        raise refuse("format", f"is not {FORMAT!r}")
    if manifest.get("schema") != SCHEMA:
        raise PackError(
            f"{path}: {_MANIFEST} field schema is {repr(manifest.get('schema'))[:20]}, this duomem reads {SCHEMA}: "
            "update duomem, or build or download a matching pack"
        )
    said = manifest_from_json(manifest, refuse)
    memories = manifest.get("memories")
    if not isinstance(memories, dict) or type(memories.get("count")) is not int:
        raise refuse("memories", "does not describe the memories")
    _check_member(memories, "memories", _MEMORIES, body, refuse)
    lexicon = manifest.get("lexicon", {})
    if (words is None) != ("lexicon" not in manifest) or not isinstance(lexicon, dict):
        raise refuse("lexicon", f"does not say whether the pack holds {_LEXICON}")
    if words is not None:
        _check_member(lexicon, "lexicon", _LEXICON, words, refuse)
    count = body.count(b"\n")
    if memories["count"] != count or (body and not body.endswith(b"\n")):
        raise refuse("memories.count", f"says {repr(memories['count'])[:20]}, the pack holds {count}")
    if count > _COUNT_LIMIT:
        raise refuse("memories.count", f"is above {_COUNT_LIMIT}")
    return said


def _check_member(
    described: dict[str, Any], field: str, file: str, data: bytes, refuse: Callable[[str, str], PackError]
) -> None:
    """Whether the manifest describes a member as it is, with no word more."""
    expected = {"file": file, "bytes": len(data), "sha256": sha256_bytes(data)}
    if wrong := [name for name in expected if described.get(name) != expected[name]]:
        raise refuse(f"{field}.{wrong[0]}", f"does not match {file}")
    if described.keys() - expected.keys() - {"count"}:
        raise refuse(field, f"says more than file, bytes, sha256 and count of {file}")
