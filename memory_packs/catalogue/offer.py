"""What is to be published: its entry in the catalogue, and what writes its file: a pack, or a student's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from duomem.core.errors import CatalogueError
from duomem.core.reading import sha256_bytes
from duomem.core.ustar import Writer
from duomem.memory_packs.catalogue.entry import Entry
from duomem.memory_packs.catalogue.student import ADAPTER_FILES, adapter_model, measure_student, write_student
from duomem.memory_packs.pack import read_pack


@dataclass(frozen=True)
class Offer:
    """entry: what is listed. write: writes the file, of the entry's size and digest. where: names it in errors."""

    entry: Entry
    write: Callable[[Writer], object]
    where: str


def offer_pack(pack: Path, publisher: str | None) -> Offer:
    """A .dmpack file, read whole. Raises PackError, or CatalogueError for a name or version a catalogue cannot list."""
    read, data = read_pack(pack), Path(pack).read_bytes()
    if sha256_bytes(data) != read.digest:
        raise CatalogueError(f"{pack}: changed while it was read: publish it again")
    return Offer(Entry.of_pack(read, len(data), publisher, str(pack)), lambda f: f.write(data), str(pack))


def offer_adapter(folder: Path, name: str, version: str, author: str, licence: str, publisher: str | None) -> Offer:
    """The three files of an adapter that duomem trained. Raises CatalogueError or FileError for what is none."""
    told = Entry("adapter", name, version, "", 0, author, licence, model=adapter_model(folder))
    return offer_folder(folder, ADAPTER_FILES, told, publisher)


def offer_folder(folder: Path, names: Sequence[str], told: Entry, publisher: str | None) -> Offer:
    """The files `names` of `folder`, of which `told` says everything but size, digest and publisher.

    Raises CatalogueError for what a catalogue cannot list.
    """
    size, sha256 = measure_student(folder, names)
    name = f"{publisher}/{told.name}" if publisher else told.name
    entry = replace(told, name=name, size=size, sha256=sha256).checked(publisher, str(folder))
    return Offer(entry, partial(write_student, folder, names), str(folder))
