"""Whatever the bytes of a pack, reading it gives its memories or one line naming the file, in little memory."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duomem.core.errors import UserError
from duomem.core.reading import sha256_bytes
from duomem.memory_packs import pack as pack_module
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.manifest import UNRELEASED, Teacher, manifest_to_json
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import read_pack, write_pack

MEMORIES = [
    Memory(
        f"put a mug in shelf {i}.", "pick_and_place_simple", "mug", "desk", ("go to desk", "take mug"), "f" * 64, "g"
    )
    for i in range(5)
]
ROW = json.dumps(MEMORIES[0].to_json()).encode() + b"\n"
LEXICON = Lexicon([["pick_and_place_simple"], ["mug", "pan"], ["desk"]], {"cup": [1, 20], "": [0, -3, 2, 4]})
WORDS = json.dumps(LEXICON.to_json()).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_pack(tmp_path / "a.dmpack", "name", "expert/1", "", MEMORIES, LEXICON)
    return tmp_path / "a.dmpack"


def _refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_pack(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 600
    return message


def _zip(members: list[tuple[Any, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def _manifest(body: bytes, **changes: Any) -> bytes:
    described = {
        "file": "memories.jsonl",
        "sha256": sha256_bytes(body),
        "bytes": len(body),
        "count": body.count(b"\n"),
    } | changes.pop("memories", {})
    said = manifest_to_json("n", Teacher("expert"), "", UNRELEASED)
    return json.dumps(said | {"memories": described} | changes).encode()


def _pack(path: Path, body: bytes, **changes: Any) -> Path:
    path.write_bytes(_zip([("manifest.json", _manifest(body, **changes)), ("memories.jsonl", body)]))
    return path


def _with_words(path: Path, words: bytes, **described: Any) -> Path:
    """A pack whose manifest describes the lexicon `words`, but for what `described` changes."""
    lexicon = {"file": "lexicon.json", "sha256": sha256_bytes(words), "bytes": len(words)} | described
    path.write_bytes(_zip([("manifest.json", _manifest(ROW, lexicon=lexicon)), GOOD[1], ("lexicon.json", words)]))
    return path


def test_the_forge_used_here_makes_good_packs(path: Path) -> None:
    assert read_pack(_pack(path, ROW)).memories == (MEMORIES[0],)
    lexicon = read_pack(_with_words(path, WORDS)).lexicon
    assert lexicon is not None and lexicon.to_json() == LEXICON.to_json()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes(path: Path, data: st.DataObject) -> None:
    """A change that is not noticed is one of bytes that do not matter, as a date: what is read is the same."""
    good = path.read_bytes()
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bad)
    try:
        found = read_pack(path)
        assert found.memories == tuple(MEMORIES)
        assert found.lexicon is not None and found.lexicon.to_json() == LEXICON.to_json()
    except UserError as e:
        assert str(path) in str(e) and "\n" not in str(e)
    finally:
        path.write_bytes(good)


def test_every_truncation(path: Path) -> None:
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        _refused(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_other_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _refused(path)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    assert "no such memory pack" in _refused(tmp_path / "absent.dmpack")
    assert "Is a directory" in _refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.dmpack")
    assert "Not a regular file" in _refused(tmp_path / "pipe.dmpack")


GOOD = [("manifest.json", _manifest(ROW)), ("memories.jsonl", ROW)]


@pytest.mark.parametrize(
    "members",
    [
        [],
        GOOD[:1],
        GOOD[1:],
        [*GOOD, ("extra", b"")],
        [*GOOD, ("lexicon.json", WORDS), ("extra", b"")],
        [GOOD[0], ("lexicon.json", WORDS)],
        [*GOOD, ("../lexicon.json", WORDS)],
        [*GOOD, ("Lexicon.json", WORDS)],
        [("../manifest.json", GOOD[0][1]), GOOD[1]],
        [GOOD[0], ("../../memories.jsonl", ROW)],
        [GOOD[0], ("/memories.jsonl", ROW)],
        [GOOD[0], ("memories.jsonl/", b"")],
        [GOOD[0], ("Memories.jsonl", ROW)],
        [("manifest.json", b""), GOOD[0]],
    ],
    ids=lambda members: ",".join(name for name, _ in members),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_members(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.write_bytes(_zip(members))
    assert "must hold manifest.json, memories.jsonl and maybe lexicon.json only" in _refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_third_member_the_end_record_hides(path: Path) -> None:
    data = _zip([GOOD[0], *GOOD])
    path.write_bytes(data[:-14] + struct.pack("<2H", 2, 2) + data[-10:])
    assert "must hold manifest.json, memories.jsonl and maybe lexicon.json only" in _refused(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_members_that_are_no_files(path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("memories.jsonl")
    info.external_attr = (kind | 0o777) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    path.write_bytes(_zip([GOOD[0], (info, ROW)]))
    assert "must hold" in _refused(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(path: Path, method: int) -> None:
    path.write_bytes(_zip(GOOD, method))
    assert "must hold" in _refused(path)


def test_encrypted_members(path: Path) -> None:
    data = bytearray(_zip(GOOD))
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for found in re.finditer(re.escape(mark), bytes(data)):
            data[found.start() + flags] |= 1
    path.write_bytes(data)
    assert "encrypted" in _refused(path)


def _peak(read: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("member", [0, 1])
def test_a_member_that_unpacks_to_too_much(path: Path, monkeypatch: pytest.MonkeyPatch, member: int) -> None:
    """The limit holds for what is unpacked, and so does the memory it takes."""
    monkeypatch.setattr(pack_module, "_MEMORIES_LIMIT", 1 << 20)
    bomb = list(GOOD)
    bomb[member] = (bomb[member][0], bytes(64 << 20))
    path.write_bytes(_zip(bomb))
    assert path.stat().st_size < 100_000
    assert _peak(lambda: _refused(path)) < 5 << 20


@pytest.mark.parametrize("declared", [10, 1 << 31, (1 << 32) - 2])
def test_a_member_that_lies_about_its_size(path: Path, declared: int) -> None:
    data = bytearray(_zip(GOOD))
    for mark, size in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        place = data.rindex(mark) + size
        data[place : place + 4] = struct.pack("<I", declared)
    path.write_bytes(data)
    if declared == 10:
        assert "damaged" in _refused(path)
    else:
        assert _peak(lambda: read_pack(path)) < 5 << 20


def test_a_directory_of_very_many_members(path: Path) -> None:
    data = _zip([(f"{i}", b"") for i in range(20_000)])
    path.write_bytes(data)
    assert _peak(lambda: _refused(path)) < 4 * len(data)
    path.write_bytes(data[:-14] + struct.pack("<2H", 2, 2) + data[-10:])
    assert _peak(lambda: _refused(path)) < 4 * len(data)


def test_a_pack_larger_than_any(path: Path) -> None:
    with open(path, "wb") as f:
        f.truncate(pack_module._FILE_LIMIT + 1)
    assert "larger than" in _refused(path)


def test_more_memories_than_allowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "_COUNT_LIMIT", 2)
    assert "memories.count is above 2" in _refused(_pack(path, ROW * 3))


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 9999, b"9" * 5000], ids=repr)
def test_a_manifest_that_is_none(path: Path, manifest: bytes) -> None:
    path.write_bytes(_zip([("manifest.json", manifest), GOOD[1]]))
    assert "manifest.json" in _refused(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "zip"}, "field format"),
        ({"format": None}, "field format"),
        ({"schema": 1}, "field schema is 1, this duomem reads 3"),
        ({"schema": 2}, "field schema is 2, this duomem reads 3"),
        ({"schema": "3"}, "field schema is '3'"),
        ({"name": 3}, "field name"),
        ({"source": "x" * 201}, "field source"),
        ({"memories": {"count": 2}}, "field memories.count says 2"),
        ({"memories": {"count": -1}}, "field memories.count"),
        ({"memories": {"count": True}}, "field memories "),
        ({"memories": {"count": None}}, "field memories "),
        ({"memories": {"sha256": "0" * 64}}, "field memories.sha256"),
        ({"memories": {"bytes": 3}}, "field memories.bytes"),
        ({"memories": {"file": "other"}}, "field memories.file"),
        ({"memories": {"code": "x"}}, "field memories says more"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_manifest_that_lies(path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in _refused(_pack(path, ROW, **changes))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (ROW[:-1], "memories.count"),
        (ROW + b"\n", "memories.jsonl line 2 is not valid JSON"),
        (ROW + b"\xff\n", "line 2 is not valid JSON"),
        (b"9" * 5000 + b"\n", "line 1 is not valid JSON"),
        (b"[" * 9999 + b"\n", "line 1 is not valid JSON"),
        (b"[]\n", "line 1 is not a JSON object"),
        (ROW + b"{}\n", "line 2: field task"),
        (ROW.replace(b"go to", b"\\u001b[2J"), "line 1: field steps"),
        (ROW.replace(b"put a", b"\\ud800"), "line 1 is not valid JSON"),
        (ROW.replace(b"put a", b"a\\nb"), "line 1: field task"),
        (b'"' + b"x" * (1 << 20) + b'"\n', "line 1 is larger"),
    ],
    ids=range(11),
)
def test_memories_that_are_none(path: Path, body: bytes, said: str) -> None:
    assert said in _refused(_pack(path, body))


@pytest.mark.parametrize("manifest", [{}, {"lexicon": None}, {"lexicon": []}, {"lexicon": "lexicon.json"}], ids=str)
def test_a_lexicon_the_manifest_does_not_describe(path: Path, manifest: dict[str, Any]) -> None:
    path.write_bytes(_zip([("manifest.json", _manifest(ROW, **manifest)), GOOD[1], ("lexicon.json", WORDS)]))
    assert "manifest.json field lexicon" in _refused(path)


@pytest.mark.parametrize("described", [None, {}, {"file": "lexicon.json", "bytes": 0, "sha256": sha256_bytes(b"")}])
def test_a_lexicon_the_pack_lacks(path: Path, described: Any) -> None:
    assert "field lexicon does not say whether the pack holds lexicon.json" in _refused(
        _pack(path, ROW, lexicon=described)
    )


@pytest.mark.parametrize(
    "described",
    [{"sha256": "0" * 64}, {"sha256": None}, {"bytes": 3}, {"bytes": None}, {"bytes": str(len(WORDS))}],
    ids=str,
)
def test_a_manifest_that_lies_about_the_lexicon(path: Path, described: dict[str, Any]) -> None:
    [field] = described
    assert f"field lexicon.{field} does not match lexicon.json" in _refused(_with_words(path, WORDS, **described))


@pytest.mark.parametrize("words", [b"", b"{", b"\xff", b"[" * 9999, b"9" * 5000], ids=range(5))
def test_a_lexicon_that_is_no_json(path: Path, words: bytes) -> None:
    assert f"{path}: lexicon.json is not valid JSON" in _refused(_with_words(path, words))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "x"}, "lexicon is not an object of labels and weights"),
        ({"labels": [["a"], ["b"]]}, "field labels"),
        ({"weights": {"cup": [4, 1]}}, "field weights.cup does not name different labels"),
        ({"weights": {"cup": [1, 1001]}}, "field weights.cup has a weight beyond 1000"),
        ({"weights": {"cup": [1, 1e999]}}, "field weights.cup is not a list of pairs of whole numbers"),
        ({"weights": {"cup": [1] * 100_000}}, "field weights.cup is not a list of pairs"),
        ({"weights": {"\x1b[2J": [1, 1]}}, "field weights has a feature"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_hostile_lexicon(path: Path, change: dict[str, Any], said: str) -> None:
    words = json.dumps(LEXICON.to_json() | change).encode()
    assert f"{path}: lexicon.json: {said}" in _refused(_with_words(path, words))


def test_a_lexicon_that_unpacks_to_too_much(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "_LEXICON_LIMIT", 1 << 20)
    _with_words(path, bytes(64 << 20))
    assert path.stat().st_size < 100_000
    assert "lexicon.json unpacks to more than 1048576 bytes" in _refused(path)
    assert _peak(lambda: _refused(path)) < 5 << 20
