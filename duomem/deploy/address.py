"""Where a device is, as the user writes it: ssh://user@host:port/path or adb:serial/path.

Everything is checked here, so that no part of an address can become an option or a command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from duomem.core.errors import DeployError

SSH_FOLDER = "duomem"
"""Default folder over ssh, in the user's home."""
ADB_FOLDER = "/data/local/tmp/duomem"
"""Default folder over adb: the one place that adb's user may write and run programs in."""

_SSH = re.compile(
    r"ssh://(?:(?P<user>[^@/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[^:/@\[\]]+)"
    r"(?::(?P<port>[^/]*))?(?P<path>/.*)?",
    re.DOTALL,
)
_ADB = re.compile(r"adb(?::(?P<serial>[^/]*))?(?P<path>/.*)?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_PORT = re.compile(r"[0-9]{1,5}")
_FORMS = "ssh://[user@]host[:port][/folder] or adb[:serial][/folder]"


@dataclass(frozen=True)
class SshAddress:
    """user, port: None for what ssh's own configuration says. folder: "x" is in the home, "/x" is absolute."""

    host: str
    user: str | None
    port: int | None
    folder: str


@dataclass(frozen=True)
class AdbAddress:
    """serial: None for the only device there is. folder is absolute."""

    serial: str | None
    folder: str


def parse_address(text: str) -> SshAddress | AdbAddress:
    """The address `text` names. %XX is decoded in folders; ssh://host/~/x is x in the home.

    Raises DeployError naming the part that is wrong.
    """
    if match := _SSH.fullmatch(text):
        return _ssh(text, **match.groupdict())
    if match := _ADB.fullmatch(text):
        serial, path = match["serial"], match["path"]
        if serial is not None and not _SERIAL.fullmatch(serial):
            raise DeployError(f"{text!r}: {serial!r} is no adb serial: take one that `adb devices` lists")
        return AdbAddress(serial, _folder(text, path) if path else ADB_FOLDER)
    raise DeployError(f"{text!r}: is no address of a device: write {_FORMS}")


def _ssh(text: str, user: str | None, host: str, port: str | None, path: str | None) -> SshAddress:
    if user is not None and not _NAME.fullmatch(user):
        raise DeployError(f"{text!r}: {user!r} is no user name: write ssh://user@host, letters, digits and ._- only")
    if not host.startswith("[") and not _NAME.fullmatch(host):
        raise DeployError(f"{text!r}: {host!r} is no host name: write {_FORMS}")
    if port is not None and not (_PORT.fullmatch(port) and 1 <= int(port) <= 65535):
        raise DeployError(f"{text!r}: port {port!r} is not between 1 and 65535")
    return SshAddress(
        host.strip("[]"),
        user,
        None if port is None else int(port),
        SSH_FOLDER if path in (None, "/") else _folder(text, str(path)),
    )


def _folder(text: str, path: str) -> str:
    try:
        folder = unquote(path, errors="strict") if "%" in path else path
    except UnicodeDecodeError:
        raise DeployError(f"{text!r}: {path!r} is no folder: what %XX stands for must be UTF-8") from None
    if folder.startswith("/~/"):
        folder = folder[3:]
    parts = [part for part in folder.split("/") if part]
    if not folder.isprintable() or ".." in parts or "." in parts or any(part.startswith(("-", "~")) for part in parts):
        raise DeployError(
            f"{text!r}: {folder!r} is no folder duomem deploys to: no control characters, no . or .. "
            "and no part that begins with - or ~"
        )
    if not parts:
        raise DeployError(f"{text!r}: the top folder of a device is no place to deploy to: name a folder in it")
    return ("/" if folder.startswith("/") else "") + "/".join(parts)
