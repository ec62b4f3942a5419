"""Reading what may be hostile: regular files alone, JSON bounded in bytes and values, digests of content.

Nothing but the standard library, on any system: the wheel alfworld-lite takes this file too.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import IO, Any

from duomem.core.errors import FileError

_MOST_CONTAINERS = 1 << 20
_MOST_VALUES = 4 << 20
"""Of one JSON text: an object of Python takes up to thirty times the bytes that write it."""
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
"""The first two are unknown to Windows, the last to all others."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file to read its bytes. Raises OSError for a pipe, a socket or a device too, and at once."""
    fd = os.open(path, _FLAGS)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            error = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(error, os.strerror(error) if stat.S_ISDIR(mode) else "Not a regular file", str(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def parse_json(data: bytes, where: str, limit: int) -> Any:
    """Parse untrusted JSON bytes; FileError naming `where` if too large, not UTF-8, not JSON or too deep."""
    if len(data) > limit:
        raise FileError(f"{where} is larger than {limit} bytes: not read")
    if data.count(b"[") + data.count(b"{") > _MOST_CONTAINERS or data.count(b",") > _MOST_VALUES:
        raise FileError(f"{where} holds more than {_MOST_CONTAINERS} lists or {_MOST_VALUES} values: not read")
    try:
        return text_only(json.loads(data.decode("utf-8")), data)
    except (ValueError, RecursionError) as e:  # ValueError also for a number of too many digits
        raise FileError(f"{where} is not valid JSON ({e}): it is damaged, make or copy it again") from None


def text_only(value: Any, data: bytes) -> Any:
    """`value`, parsed of the JSON `data`. Raises ValueError if it holds half a surrogate pair, which is no text."""
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value
