"""Members of zips come out as they went in; hostile ones are refused in little memory."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem.core.zip_member import ZipError, list_members, read_pieces

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]


def _zip(data: bytes, method: int) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("first", b"1")
        archive.writestr("member", data)
    return buffer


def _read(f: io.BytesIO, **changes: int) -> bytes:
    entry = list_members(f)[1]
    for name, value in changes.items():
        setattr(entry, name, value)
    return b"".join(read_pieces(f, entry))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [b"", b"a", os.urandom(3000), b"abc" * 1_000_000], ids=len)
def test_what_went_in_comes_out(method: int, data: bytes) -> None:
    assert _read(_zip(data, method)) == data


@pytest.mark.parametrize("method", METHODS)
def test_a_size_that_is_not_so_is_found(method: int) -> None:
    f = _zip(b"abc" * 1000, method)
    for changes in (
        {"file_size": 10},
        {"file_size": 1 << 40},
        {"compress_size": 4},
        {"CRC": 1},
        {"header_offset": 1},
        {"header_offset": 1 << 62},
        {"header_offset": -1},
        {"flag_bits": 1},
        {"compress_type": zipfile.ZIP_BZIP2},
    ):
        with pytest.raises(ZipError):
            _read(f, **changes)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_bomb_takes_no_memory(method: int) -> None:
    f = _zip(bytes(24 << 20), method)
    entry = list_members(f)[1]
    tracemalloc.start()
    assert sum(map(len, read_pieces(f, entry))) == 24 << 20
    entry.file_size = 10
    with pytest.raises(ZipError, match="checksum"):
        list(read_pieces(f, entry))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20


def test_a_huge_dictionary_is_refused() -> None:
    f = _zip(b"abc" * 1000, zipfile.ZIP_LZMA)
    data = bytearray(f.getvalue())
    at = data.index(b"member") + len("member") + 5
    data[at : at + 4] = b"\xff" * 4
    with pytest.raises(ZipError, match="LZMA dictionary of 4294967295 bytes"):
        _read(io.BytesIO(bytes(data)))


@given(st.sampled_from(METHODS), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_any_damage_is_found_or_harmless(method: int, at: int, junk: bytes) -> None:
    data = bytearray(_zip(b"abcdefgh" * 30, method).getvalue())
    data[at : at + len(junk)] = junk
    f = io.BytesIO(bytes(data))
    try:
        for entry in list_members(f):
            assert sum(map(len, read_pieces(f, entry))) == entry.file_size
    except ZipError:
        pass
