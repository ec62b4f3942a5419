"""An archive gives back its files and nothing else; the writer's bytes depend on the files alone."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from duomem.core.errors import FileError
from duomem.core.ustar import check_end, member_pieces, next_member, write_ustar

WHERE = Path("a.tar")


def written(*files: tuple[str, Path, int]) -> bytes:
    out = io.BytesIO()
    write_ustar(out, files)
    return out.getvalue()


def test_there_and_back(tmp_path: Path) -> None:
    contents = {"a/b": b"x" * 513, "long/" + "n" * 99: b"", "c": bytes(range(256)) * 9000}
    for i, data in enumerate(contents.values()):
        (tmp_path / str(i)).write_bytes(data)
    files = [(name, tmp_path / str(i), 0o644) for i, name in enumerate(contents)]
    data = written(*files)
    os.utime(tmp_path / "0", (1, 1))
    assert written(*files) == data
    stream, found = io.BytesIO(data), {}
    while (member := next_member(WHERE, stream)) is not None:
        found[member.name] = b"".join(member_pieces(stream, member.size))
    check_end(WHERE, stream)
    assert found == contents


def test_a_name_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(FileError, match="does not fit into an archive"):
        written(("n" * 101, tmp_path / "x", 0o644))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE, tarfile.FIFOTYPE])
def test_other_kinds_of_members(kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type = kind
    with pytest.raises(FileError, match=r"'x/?' is no plain file"):
        next_member(WHERE, io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT)))


def test_headers_that_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    good = written(("x", tmp_path / "x", 0o644))[:512]
    for at, byte in ((0, b"y"), (124, b"-"), (148, b"8"), (257, b"U")):
        with pytest.raises(FileError, match=r"is no (whole )?archive"):
            next_member(WHERE, io.BytesIO(good[:at] + byte + good[at + 1 :]))
    for cut in (0, 1, 511):
        with pytest.raises(EOFError):
            next_member(WHERE, io.BytesIO(good[:cut]))
    with pytest.raises(EOFError):
        list(member_pieces(io.BytesIO(b"abc"), 4))
    for rest in (b"x", bytes(65537)):
        with pytest.raises(FileError, match="goes on after its end"):
            check_end(WHERE, io.BytesIO(rest))
