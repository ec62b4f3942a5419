"""Files are whole or absent, whatever happens while they are written; hostile ones are one-line errors."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from duomem.core import claim, disk, files
from duomem.core.errors import UserError
from duomem.core.files import (
    atomic_folder,
    atomic_open,
    read_json,
    read_jsonl,
    read_toml,
    sha256_file,
    sha256_input,
    write_bytes,
    write_json,
)
from duomem.core.reading import digest_of, parse_json, sha256_bytes


def _full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file(tmp_path: Path, old: bytes | None, error: type[BaseException]) -> None:
    path = tmp_path / "a" / "file"
    if old is not None:
        write_bytes(path, old)
    with pytest.raises(error), atomic_open(path) as f:
        f.write(b"new" * 100_000)
        raise error
    assert (path.read_bytes() if old is not None else None) == old
    assert os.listdir(path.parent) == (["file"] if old is not None else [])


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, name, _full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": 1})
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_disk_full_at_the_last_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes nothing, and says so when the buffer is flushed."""
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fdopen(fd: int, mode: str, real: Callable[..., IO[bytes]] = os.fdopen) -> IO[bytes]:
        os.close(fd)
        return real(os.open("/dev/full", os.O_WRONLY), mode)

    monkeypatch.setattr(os, "fdopen", fdopen)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_written_file_has_the_usual_rights(tmp_path: Path) -> None:
    write_bytes(tmp_path / "atomic", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def _fill(folder: Path, text: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text(text)


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for text in ("old", "new"):
        with atomic_folder(path) as work:
            assert path.exists() == (text == "new")
            _fill(work, text)
    assert (path / "sub" / "file").read_text() == "new" and os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_folder(tmp_path: Path, exists: bool, error: type[BaseException]) -> None:
    path = tmp_path / "out"
    if exists:
        with atomic_folder(path) as work:
            _fill(work, "old")
    with pytest.raises(error), atomic_folder(path) as work:
        _fill(work, "new")
        raise error
    assert os.listdir(tmp_path) == (["out"] if exists else [])
    assert not exists or (path / "sub" / "file").read_text() == "old"


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    path = tmp_path / "out"
    with atomic_folder(path) as work:
        _fill(work, "old")
    calls = []

    def replace(source: Path, target: Path, real: Callable[..., None] = os.replace) -> None:
        calls.append(source)
        if len(calls) == failing:
            _full_disk()
        real(source, target)

    monkeypatch.setattr(claim, "exchange", lambda one, other: False)
    monkeypatch.setattr(claim.os, "replace", replace)
    with pytest.raises(OSError, match="No space"), atomic_folder(path) as work:
        _fill(work, "new")
    assert os.listdir(tmp_path) == ["out"] and (path / "sub" / "file").read_text() == "old"


def test_an_interrupt_after_the_rename_leaves_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    with atomic_folder(path) as work:
        _fill(work, "old")

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claim, "sync_folder", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_folder(path) as work:
        _fill(work, "new")
    assert os.listdir(tmp_path) == ["out"] and (path / "sub" / "file").read_text() == "new"


class _Libc:
    """A C library whose syncfs ends with `error`, after calling the real one if that is 0."""

    def __init__(self, error: int, calls: list[int]) -> None:
        def syncfs(fd: int) -> int:
            calls.append(fd)
            disk.ctypes.set_errno(error)
            return -1 if error else real(fd)

        real, self.syncfs = ctypes.CDLL(None).syncfs, syncfs


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's syncfs")
@pytest.mark.parametrize(
    ("error", "count", "synced", "each"),
    [(0, disk._MANY, 1, 0), (0, disk._MANY - 1, 0, disk._MANY - 1), (errno.ENOSYS, disk._MANY, 1, disk._MANY)],
)
def test_many_files_are_synced_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, count: int, synced: int, each: int
) -> None:
    calls: list[int] = []
    one_by_one: list[int] = []
    libc = _Libc(error, calls)
    monkeypatch.setattr(disk.ctypes, "CDLL", lambda name, use_errno: libc)
    monkeypatch.setattr(claim, "sync_folder", lambda folder: None)
    monkeypatch.setattr(os, "fsync", one_by_one.append)
    with atomic_folder(tmp_path / "out") as work:
        for i in range(count):
            (work / str(i)).write_text("x")
    assert (len(calls), len(one_by_one)) == (synced, each) and len(os.listdir(tmp_path / "out")) == count


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's syncfs")
def test_many_files_that_do_not_reach_the_disk_leave_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "out") as work:
        _fill(work, "old")
    libc = _Libc(errno.EIO, [])
    monkeypatch.setattr(disk.ctypes, "CDLL", lambda name, use_errno: libc)
    with pytest.raises(OSError, match="Input/output error"), atomic_folder(tmp_path / "out") as work:
        for i in range(disk._MANY):
            (work / str(i)).write_text("x")
    assert os.listdir(tmp_path) == ["out"] and (tmp_path / "out" / "sub" / "file").read_text() == "old"


def test_a_folder_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="out: is a file"), atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "mine" and os.listdir(tmp_path) == ["out"]


def test_digests(tmp_path: Path) -> None:
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_file(tmp_path / "file") == sha256_input(tmp_path / "file", "game") == sha256_bytes(b"abc")
    assert digest_of({"b": [1], "a": "ä"}) == digest_of({"a": "ä", "b": [1]}) != digest_of({"a": "ä", "b": [2]})


_READERS: list[Callable[[Path], object]] = [
    lambda path: read_json(path, "thing"),
    lambda path: read_toml(path, "thing"),
    lambda path: list(read_jsonl(path, "thing")),
    lambda path: sha256_input(path, "thing"),
]


@pytest.mark.parametrize("read", _READERS)
def test_missing_files_and_folders(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "absent", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"^{path}: no such thing: check the path$"):
            read(path)
    with pytest.raises(UserError, match=f"^{tmp_path}: cannot read this thing: Is a directory$"):
        read(tmp_path)


@pytest.mark.parametrize("read", _READERS)
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match=f"^{path}: cannot read this thing: Not a regular file$"):
            read(path)


def test_a_line_without_an_end_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as f:
        f.write(b"{}\n")
        f.truncate(files._LINE_LIMIT + 10)
    with pytest.raises(UserError, match="line 2 of this thing is longer than"):
        list(read_jsonl(tmp_path / "file", "thing"))


def test_json_that_would_fill_the_memory() -> None:
    for data in (b"[" + b"[]," * (1 << 20) + b"[]]", b"[" + b"0," * (4 << 20) + b"0,0]"):
        with pytest.raises(UserError, match="here holds more than"):
            parse_json(data, "here", 1 << 30)


_NOT_JSON = [b"", b"{", b"\xff{}", b"[" * 100_000, b"9" * 5000, b"{} {}"]


@pytest.mark.parametrize("data", _NOT_JSON, ids=lambda data: repr(data[:8]))
def test_not_json(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UserError, match="file: thing is not valid JSON"):
        read_json(tmp_path / "file", "thing")


def test_too_large_json(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"[" + b" " * 100 + b"]")
    assert read_json(tmp_path / "file", "thing", 102) == []
    with pytest.raises(UserError, match="file: thing is larger than 101 bytes"):
        read_json(tmp_path / "file", "thing", 101)
    with pytest.raises(UserError, match="larger than 1 bytes"):
        parse_json(b"[]", "here", 1)


@pytest.mark.parametrize(
    "data", [b"a", b"a = \xff", b"a = [" * 1 + b"[" * 100_000, b"a = 1\na = 2"], ids=lambda data: repr(data[:12])
)
def test_not_toml(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UserError, match="file: this thing is not valid TOML"):
        read_toml(tmp_path / "file", "thing")


def test_json_lines(tmp_path: Path) -> None:
    rows = [{"a": "ä\u2028"}, {}]
    (tmp_path / "file").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + '{"cut": "o')
    assert list(read_jsonl(tmp_path / "file", "thing")) == rows


@pytest.mark.parametrize("line", [*_NOT_JSON, b'{"a": "\\uD800"}', b"[]", b"3"], ids=lambda data: repr(data[:12]))
def test_bad_json_lines_are_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "file").write_bytes(b"{}\n" + line + b"\n{}\n")
    with pytest.raises(UserError, match="file: line 2 of this thing is not"):
        list(read_jsonl(tmp_path / "file", "thing"))


def test_errors_are_one_line() -> None:
    assert str(UserError("a\n  b\t c\r\n")) == "a b c"
