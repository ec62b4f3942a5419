"""The catalogues a user has added: address, mirrors and the root that is trusted, in one file of the config folder.

None is compiled in. The file stands alone: copied to another machine it is trusted there too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from duomem.core.errors import CatalogueError
from duomem.core.files import read_json, write_json
from duomem.core.reading import digest_of
from duomem.core.user_folders import config_folder
from duomem.memory_packs.catalogue.lock import locked

_FORMAT = "duomem-catalogues"
_FILE = "catalogues.json"
_LIMIT = 16 << 20
ROOT_LIMIT = 512_000
_MOST = 100
_SCHEMES = ("http", "https", "file")


@dataclass(frozen=True)
class Source:
    """A catalogue to pull from.

    url: http, https or file address of its folder, no slash at the end. root: the root metadata that is trusted, as
    JSON. mirrors: addresses of copies, tried in turn after `url`.
    """

    url: str
    root: dict[str, Any]
    mirrors: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What tells this catalogue from others wherever it is served: 16 hex digits of its trusted root."""
        return digest_of(self.root)[:16]

    def root_bytes(self) -> bytes:
        """The trusted root as metadata; signatures are over its canonical form, so its spaces do not matter."""
        return json.dumps(self.root).encode()


def check_address(url: str) -> str:
    """`url` without a slash at its end. Raises CatalogueError if it is no address of a catalogue."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in _SCHEMES and bool(parts.netloc or parts.scheme == "file") and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise CatalogueError(f"{url!r}: is no address of a catalogue: give one as https://example.org/packs")
    return url.rstrip("/")


def read_root(file: Path) -> dict[str, Any]:
    """A root.json that a keeper handed out. Raises FileError or CatalogueError; signatures are checked when used."""
    value = read_json(file, "root metadata", ROOT_LIMIT)
    signed = value.get("signed") if isinstance(value, dict) else None
    if not isinstance(signed, dict) or signed.get("_type") != "root":
        raise CatalogueError(f"{file}: is no root metadata of a catalogue: ask its keeper for metadata/1.root.json")
    return value


def read_sources() -> list[Source]:
    """The catalogues that were added, in that order. Raises CatalogueError for a damaged file."""
    file = config_folder() / _FILE
    if not file.exists():
        return []
    value = read_json(file, "list of catalogues", _LIMIT)
    rows = value.get("catalogues") if isinstance(value, dict) and value.get("format") == _FORMAT else None
    if not isinstance(rows, list) or len(rows) > _MOST:
        raise CatalogueError(f"{file}: is no list of catalogues: remove it and add them again")
    return [_source(row, f"{file}: catalogue {n}") for n, row in enumerate(rows, 1)]


def _source(row: Any, where: str) -> Source:
    mirrors = row.get("mirrors") if isinstance(row, dict) else None
    if (
        not isinstance(mirrors, list)
        or not isinstance(row.get("root"), dict)
        or not all(isinstance(url, str) for url in (row.get("url"), *mirrors))
    ):
        raise CatalogueError(f"{where}: fields url, mirrors and root do not describe one: add it again")
    return Source(check_address(row["url"]), row["root"], tuple(map(check_address, mirrors)))


def add_source(source: Source) -> None:
    """Write a catalogue down, instead of the one of the same address or root."""
    with locked(config_folder()):
        kept = [one for one in read_sources() if one.url != source.url and one.identity != source.identity]
        _write([*kept, source])


def remove_source(url: str) -> Source:
    """Forget a catalogue and return it; what was pulled from it stays. Raises CatalogueError if it is not known."""
    with locked(config_folder()):
        known = read_sources()
        found = find_source(known, url)
        _write([one for one in known if one != found])
        return found


def find_source(known: Sequence[Source], url: str) -> Source:
    """The catalogue at `url`. Raises CatalogueError if there is none."""
    for source in known:
        if check_address(url) in (source.url, *source.mirrors):
            return source
    raise CatalogueError(f"{url}: no such catalogue: add it with `duomem pack catalogue add {url} --root root.json`")


def _write(sources: Sequence[Source]) -> None:
    rows = [asdict(source) for source in sources]
    write_json(config_folder() / _FILE, {"format": _FORMAT, "catalogues": rows})
