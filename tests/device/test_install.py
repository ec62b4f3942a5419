"""Wheels are unpacked inside their folder, in little memory, and what is wrong is told as what it is.

tests/deploy/test_kit.py runs the installer of a whole kit.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.deploy.repack import write_wheel
from duomem.device import install
from duomem.device.install import unpack_wheel


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_wheel_with_a_damaged_stream_is_one_line(method: int, tmp_path: Path) -> None:
    wheel = tmp_path / "rich-1.0-py3-none-any.whl"
    write_wheel(wheel, {"rich/__init__.py": b"x = 1\n" * 500, "rich-1.0.dist-info/WHEEL": b""}, method)
    data = bytearray(wheel.read_bytes())
    at = data.index(b"rich/__init__.py") + len(b"rich/__init__.py") + 10
    data[at : at + 20] = b"\xff" * 20
    wheel.write_bytes(data)
    with pytest.raises(UserError, match=r"whl: cannot be unpacked \(.*copy the bundle again"):
        unpack_wheel(wheel, tmp_path / "out")


def test_a_python_without_lzma_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "rich-1.0-py3-none-any.whl"
    write_wheel(wheel, {"rich/__init__.py": b"", "rich-1.0.dist-info/WHEEL": b""})
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(UserError, match=r"cannot be unpacked by .*lzma.* use another Python"):
        unpack_wheel(wheel, tmp_path / "out")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\x", "c:/x", "a//x", "link"])
def test_a_wheel_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        entry.external_attr = (0o120777 if name == "link" else 0o100644) << 16
        archive.writestr(entry, b"x")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="is no plain file"):
        unpack_wheel(tmp_path / "w.whl", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir()) and not (tmp_path / "x").exists()


@pytest.mark.parametrize("names", [("tool", "tool/x"), ("tool/x", "tool"), ("tool", "tool/x/y")])
def test_a_file_that_is_a_folder_too_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    with pytest.raises(UserError, match=r"w\.whl: 'tool.*' is a file and a folder: make the bundle again"):
        unpack_wheel(tmp_path / "w.whl", tmp_path / "out")


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr(zipfile.ZipInfo("x"), b"x")
    data = (tmp_path / "w.whl").read_bytes().replace(b"x", b"\0")
    (tmp_path / "w.whl").write_bytes(data)
    with pytest.raises(UserError, match="a member has no name"):
        unpack_wheel(tmp_path / "w.whl", tmp_path / "out")


def _bomb(path: Path, said: int) -> Path:
    """A wheel with a member of 24 MiB of zeros, of which it says that it is `said` bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/zeros", bytes(24 << 20))
    data = bytearray(buffer.getvalue())
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = said.to_bytes(4, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("said", [10, 24 << 20, (1 << 30) - 1])
def test_a_wheel_is_unpacked_in_little_memory(said: int, tmp_path: Path) -> None:
    wheel = _bomb(tmp_path / "w.whl", said)
    tracemalloc.start()
    if said == 24 << 20:
        unpack_wheel(wheel, tmp_path / "out")
        assert (tmp_path / "out" / "a" / "zeros").stat().st_size == said
    else:
        with pytest.raises(UserError, match=r"w\.whl: cannot be unpacked \(.*copy the bundle again"):
            unpack_wheel(wheel, tmp_path / "out")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 14 << 20


def test_a_wheel_that_says_it_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unpacks to more than 1024 MiB"):
        unpack_wheel(_bomb(tmp_path / "w.whl", (1 << 30) + 1), tmp_path / "out")


def test_a_wheel_whose_offsets_lead_nowhere_is_not_told_as_a_full_disk(tmp_path: Path) -> None:
    wheel = tmp_path / "rich-1.0-py3-none-any.whl"
    write_wheel(wheel, {"rich/__init__.py": b"", "rich-1.0.dist-info/WHEEL": b""}, zipfile.ZIP_DEFLATED)
    data = wheel.read_bytes()
    at = data.rindex(b"PK\5\6") + 16  # where the end record says that the list of members begins
    for offset in (0, 1 << 31, (1 << 32) - 2):
        wheel.write_bytes(data[:at] + offset.to_bytes(4, "little") + data[at + 4 :])
        with pytest.raises(UserError, match=r"cannot be unpacked .*: copy the bundle again"):
            unpack_wheel(wheel, tmp_path / "out")


@pytest.mark.parametrize(("number", "free"), [(errno.ENOSPC, True), (errno.EACCES, False), (errno.EINVAL, False)])
def test_only_a_full_disk_is_told_to_free_space(
    number: int, free: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(bundle: Path, home: Path) -> Path:
        raise OSError(number, os.strerror(number), "/home/x\x1b[2J")

    monkeypatch.setattr(install, "install", fail)
    monkeypatch.setattr(sys, "argv", ["install.sh", "bundle", "/home"])
    assert install.main() == 1
    line = capsys.readouterr().err.rstrip("\n")
    assert ("free space" in line) == free and "set DUOMEM_HOME" in line and line.isprintable()
