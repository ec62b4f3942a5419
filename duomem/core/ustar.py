"""Plain archives ("ustar", POSIX.1-1988): regular files alone, bytes that depend on them alone, read a block at a time.

Python's tarfile writes them. It does not read them: it takes headers of other kinds whole, in memory and recursively,
before it shows any.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from duomem.core.errors import FileError

_PADDING = 64 << 10
_PIECE = 1 << 20
_BLOCK = 512
_NAME, _SIZE, _CHECKSUM, _PREFIX = (0, 100), (124, 136), (148, 156), (345, 500)
"""Where the fields of a header begin and end."""
_OCTAL = re.compile(rb"[0-7]{1,11}")


class Reader(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes: ...


class Writer(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object: ...

    def tell(self) -> int: ...


class Member(NamedTuple):
    """A file in an archive: its path there and its bytes."""

    name: str
    size: int


def write_ustar(f: Writer, files: Sequence[tuple[str, Path, int]]) -> None:
    """Write an archive of (path in it, file, mode) to `f`, in this order, with no dates and no owners.

    Raises FileError for a path that does not fit into a header.
    """
    to: Any = f  # tarfile asks for no more than a Writer
    with tarfile.open(fileobj=to, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, source, mode in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = source.stat().st_size, mode
            try:
                with open(source, "rb") as data:
                    archive.addfile(entry, data)
            except ValueError as e:
                raise FileError(f"{source}: does not fit into an archive ({e}): shorten its name") from None


def next_member(path: Path, stream: Reader) -> Member | None:
    """The header of the next file, None at the end; `path` names the archive in errors.

    Raises FileError for anything but a regular file, EOFError where the archive is cut off.
    """
    header = stream.read(_BLOCK)
    if header == bytes(_BLOCK):
        return None
    if len(header) < _BLOCK:
        raise EOFError("it ends before its end")
    digits = [header[start:end].strip(b" \0") for start, end in (_SIZE, _CHECKSUM)]
    kind, magic = header[156:157], header[257:263]
    if magic != b"ustar\0" or not all(_OCTAL.fullmatch(number) for number in digits):
        raise FileError(f"{path}: is no archive duomem wrote: take another copy")
    size, checksum = (int(number, 8) for number in digits)
    if checksum != sum(header) - sum(header[slice(*_CHECKSUM)]) + 8 * ord(" "):
        raise FileError(f"{path}: is no whole archive (a header is damaged): copy it again")
    name, prefix = (header[start:end].partition(b"\0")[0].decode("ascii", "replace") for start, end in (_NAME, _PREFIX))
    whole = f"{prefix}/{name}" if prefix else name
    if kind != tarfile.REGTYPE:
        raise FileError(f"{path}: {whole!r} is no plain file: take another copy")
    return Member(whole, size)


def member_pieces(stream: Reader, size: int) -> Iterator[bytes]:
    """The `size` bytes of a member, a piece at a time; then the next header is next. Raises EOFError."""
    left = size
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise EOFError("it ends before its end")
        left -= len(piece)
        yield piece
    stream.read(-size % _BLOCK)


def check_end(path: Path, stream: Reader) -> None:
    """Raises FileError if anything but padding follows the last member."""
    rest = stream.read(_PADDING + 1)
    if len(rest) > _PADDING or any(rest):
        raise FileError(f"{path}: goes on after its end: take another copy")
