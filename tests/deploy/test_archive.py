"""A bundle's archive gives back the bundle; whatever else its bytes are, it is refused and leaves nothing.

The bundles are small ones without a model.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import write_bundle

from duomem.core.errors import UserError
from duomem.deploy import archive
from duomem.deploy.archive import unpack_archive, write_archive
from duomem.device.engine.bundle import Bundle, read_bundle


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle. Read it, do not change it."""
    return read_bundle(write_bundle(tmp_path_factory.mktemp("bundles") / "phone"))


def entry(
    name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data) if kind == tarfile.REGTYPE else 0
    return info, data


HOSTILE: dict[str, Callable[[list], None]] = {
    "parent": lambda m: m.append(entry("phone/../../evil")),
    "absolute": lambda m: m.append(entry("/tmp/duomem-evil")),
    "dot": lambda m: m.append(entry("phone/./play")),
    "double slash": lambda m: m.append(entry("phone//play")),
    "another top": lambda m: m.append(entry("evil/play")),
    "no top": lambda m: m.append(entry("play")),
    "unlisted": lambda m: m.append(entry("phone/wheels/evil.whl")),
    "twice": lambda m: m.append(m[1]),
    "manifest twice": lambda m: m.append(m[0]),
    "missing": lambda m: m.pop(),
    "manifest missing": lambda m: m.pop(0),
    "manifest last": lambda m: m.append(m.pop(0)),
    "empty": lambda m: m.clear(),
    "symbolic link": lambda m: m.append(entry("phone/x", kind=tarfile.SYMTYPE, link="/etc/passwd")),
    "link for a file": lambda m: m.__setitem__(-1, entry(m[-1][0].name, kind=tarfile.SYMTYPE, link="/etc/passwd")),
    "hard link": lambda m: m.__setitem__(-1, entry(m[-1][0].name, kind=tarfile.LNKTYPE, link="phone/play")),
    "fifo": lambda m: m.append(entry("phone/x", kind=tarfile.FIFOTYPE)),
    "device": lambda m: m.append(entry("phone/x", kind=tarfile.CHRTYPE)),
    "folder": lambda m: m.append(entry("phone/x", kind=tarfile.DIRTYPE)),
    "longer": lambda m: m.__setitem__(-1, entry(m[-1][0].name, m[-1][1] + b"x")),
    "shorter": lambda m: m.__setitem__(-1, entry(m[-1][0].name, m[-1][1][:-1])),
    "flipped": lambda m: m.__setitem__(-1, entry(m[-1][0].name, m[-1][1][:-1] + b"~")),
    "bad manifest": lambda m: m.__setitem__(0, entry(m[0][0].name, b"{}")),
    "odd top": lambda m: m.__setitem__(0, entry("../bundle.json", m[0][1])),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(whole: Bundle, tmp_path: Path, case: str) -> None:
    names = ["bundle.json", *sorted(whole.manifest["files"])]
    members = [entry(f"phone/{name}", (whole.folder / name).read_bytes()) for name in names]
    HOSTILE[case](members)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        for info, data in members:
            packed.addfile(info, io.BytesIO(data))
    with pytest.raises(UserError):
        unpack_archive(tmp_path / "a.tar.gz", tmp_path / "deep" / "er" / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "a.tar.gz"]
    assert not Path("/tmp/duomem-evil").exists()


def test_a_damaged_archive_is_refused(whole: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    write_archive(whole, path)
    data = path.read_bytes()
    for bad in (
        b"",
        data[:20],
        data[: len(data) // 2],
        data[:-1],
        b"x" + data[1:],
        data[:400] + bytes([data[400] ^ 8]) + data[401:],
        gzip.compress(b"no tar" * 1000),
    ):
        path.write_bytes(bad)
        with pytest.raises(UserError):
            unpack_archive(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def tar_header(kind: bytes, size: int, name: str = "phone/x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf()


HEADERS = {
    "a pax header of 32 MiB": lambda: tar_header(tarfile.XHDTYPE, 32 << 20) + bytes(32 << 20),
    "a pax header for all": lambda: tar_header(tarfile.XGLTYPE, 32 << 20) + bytes(32 << 20),
    "a long name of 32 MiB": lambda: tar_header(tarfile.GNUTYPE_LONGNAME, 32 << 20) + b"a" * (32 << 20),
    "2,000 long names": lambda: (tar_header(tarfile.GNUTYPE_LONGNAME, 1) + b"a".ljust(512, b"\0")) * 2000,
    "a sparse file": lambda: tar_header(tarfile.GNUTYPE_SPARSE, 0),
    "a manifest of 8 GiB": lambda: tar_header(tarfile.REGTYPE, (8 << 30) - 1, "phone/bundle.json"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_the_writer_never_writes_are_refused_unread(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(HEADERS[case](), 1))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"is no plain file|does not begin with bundle\.json"):
        unpack_archive(path, tmp_path / "out")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20 and not (tmp_path / "out").exists()


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_SMALL", 1 << 20)
    bundle = read_bundle(write_bundle(tmp_path / "phone", {"model/params_shard_1.bin": bytes(2 << 20)}))
    write_archive(bundle, tmp_path / "a.tar.gz")
    with pytest.raises(UserError, match="unpacks to more than 50 times its size"):
        unpack_archive(tmp_path / "a.tar.gz", tmp_path / "out")


def test_a_name_no_archive_holds_is_told_before_a_device_is(tmp_path: Path) -> None:
    name = f"model/{'x' * 120}"
    bundle = read_bundle(write_bundle(tmp_path / "phone", {name: b"x"}))
    with pytest.raises(UserError, match=rf"{name}: does not fit into an archive \(name is too long\): shorten"):
        write_archive(bundle, tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()
