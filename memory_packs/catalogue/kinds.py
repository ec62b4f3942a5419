"""What a user is about to install: the kinds asked for, and what is checked before and after a download.

A bundle is a compiled program, which this package knows nothing of: whoever asks for one brings its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import CatalogueError
from duomem.memory_packs.catalogue.entry import Entry
from duomem.memory_packs.catalogue.student import check_adapter
from duomem.memory_packs.pack import read_pack


@dataclass(frozen=True)
class Kind:
    """name: as an entry's. check(path, entry): raises UserError unless what was downloaded, a pack's file or the folder
    a student was unpacked to, is whole and what the entry says. accept(entry): raises UserError, before anything is
    downloaded, for what this machine cannot use.
    """

    name: str
    check: Callable[[Path, Entry], None]
    accept: Callable[[Entry], None] = lambda entry: None


def check_pack(path: Path, entry: Entry) -> None:
    """Raises PackError or CatalogueError unless `path` is a pack, whole, of the name and version that `entry` says."""
    pack = read_pack(path)
    if (pack.name, pack.version) != (entry.plain_name, entry.version):
        raise CatalogueError(f"{entry.title}: the pack calls itself {pack.name} {pack.version}: ask its publisher")


PACK = Kind("pack", check_pack)
ADAPTER = Kind("adapter", check_adapter)
