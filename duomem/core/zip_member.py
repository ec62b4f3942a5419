"""A member of a zip from elsewhere, a piece at a time: never much more memory than a piece, whatever its header says.

zipfile decompresses LZMA as far as the input it has read goes, which can be thousands of times as much.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Protocol

_PIECE = 1 << 20
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 1
_LARGEST_DICTIONARY = 64 << 20
"""Bytes; zipfile writes 8 MiB."""


class ZipError(Exception):
    """A member that cannot be read; the message says why in a few words."""


class NoLzmaError(ZipError):
    """A member that this Python cannot unpack, as it was built without lzma."""


def list_members(f: IO[bytes]) -> list[zipfile.ZipInfo]:
    """What the open file `f` says it holds, if it is a zip. Raises ZipError."""
    try:
        with zipfile.ZipFile(f) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError, struct.error) as e:
        raise ZipError(str(e)) from None
    if not all(member.filename for member in members):
        raise ZipError("a member has no name")
    return members


def read_pieces(f: IO[bytes], entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of `entry` in the open zip file `f`, at most 1 MiB at a time: entry.file_size in all, of its checksum.

    Raises ZipError, after the last piece if it is the checksum that is wrong.
    """
    if entry.flag_bits & _ENCRYPTED:
        raise ZipError("a member is encrypted")
    crc, left, packed = 0, entry.file_size, entry.compress_size
    try:
        f.seek(entry.header_offset)
        head = f.read(_LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
            raise ZipError("a member is not where the list of them says")
        *_, name_size, extra_size = _LOCAL.unpack(head)
        f.seek(name_size + extra_size, 1)
        unpacker = _unpacker(f, entry.compress_type)
        while left:
            data = f.read(min(_PIECE, packed)) if unpacker.needs_input else b""
            packed -= len(data)
            piece = unpacker.decompress(data, min(_PIECE, left))
            if not piece and not data and unpacker.needs_input:
                raise ZipError("a member ends too early")
            crc = zlib.crc32(piece, crc)
            left -= len(piece)
            yield piece
    except (OSError, ValueError, OverflowError, EOFError, zlib.error) as e:
        raise ZipError(str(e)) from None
    if crc != entry.CRC:
        raise ZipError("the checksum of a member is wrong")


class _Unpacker(Protocol):
    @property
    def needs_input(self) -> bool:
        """Whether it gives nothing before it gets more."""
        ...

    def decompress(self, data: bytes, most: int, /) -> bytes:
        """At most `most` bytes of what `data` and the rest of those before unpack to."""
        ...


def _unpacker(f: IO[bytes], method: int) -> _Unpacker:
    if method == zipfile.ZIP_STORED:
        return _Stored()
    if method == zipfile.ZIP_DEFLATED:
        return _Inflate()
    if method == zipfile.ZIP_LZMA:
        return _Lzma(f.read(9)[4:])  # in front of the stream: a version, the size of its properties, these
    raise ZipError(f"compression method {method} is none a wheel has")


class _Stored:
    needs_input = True

    def decompress(self, data: bytes, most: int, /) -> bytes:
        return data[:most]


class _Inflate:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    def decompress(self, data: bytes, most: int, /) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, most)


class _Lzma:
    def __init__(self, properties: bytes) -> None:
        """properties: lc, lp and pb in one byte, then the bytes of the dictionary in four."""
        try:
            import lzma
        except ImportError:
            raise NoLzmaError("it was built without lzma") from None
        if len(properties) < 5:
            raise ZipError("a member ends too early")
        settings, dictionary = struct.unpack("<BL", properties)
        if dictionary > _LARGEST_DICTIONARY:
            raise ZipError(f"an LZMA dictionary of {dictionary} bytes is none a wheel has")
        chain = {"lc": settings % 9, "lp": settings // 9 % 5, "pb": settings // 45, "dict_size": dictionary}
        self._error = lzma.LZMAError
        try:
            self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **chain}])
        except self._error as e:
            raise ZipError(str(e)) from None

    @property
    def needs_input(self) -> bool:
        return self._decompressor.needs_input

    def decompress(self, data: bytes, most: int, /) -> bytes:
        try:
            return self._decompressor.decompress(data, most)
        except self._error as e:
            raise ZipError(str(e)) from None
