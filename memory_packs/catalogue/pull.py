"""Getting packs and students from the catalogues a user trusts: search, pull, update.

A name is taken from one catalogue only: where two list it, or one does not answer, the user says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duomem.core.errors import CatalogueError
from duomem.memory_packs.catalogue import store
from duomem.memory_packs.catalogue.client import Client
from duomem.memory_packs.catalogue.entry import Entry, newest, split_wanted, version_key
from duomem.memory_packs.catalogue.fetch import Limits
from duomem.memory_packs.catalogue.kinds import PACK, Kind
from duomem.memory_packs.catalogue.sources import Source


@dataclass(frozen=True)
class Found:
    """A pack or student in a catalogue."""

    entry: Entry
    catalogue: str


@dataclass(frozen=True)
class Answer:
    """What the catalogues say. notes: what was left out or did not answer, a line each."""

    found: tuple[Found, ...]
    notes: tuple[str, ...]


def search(words: Sequence[str], sources: Sequence[Source], limits: Limits | None = None) -> Answer:
    """The packs that hold every one of `words` in what is said of them, each in its newest version, by name.

    Raises CatalogueError if no catalogue answers.
    """
    clients, faults = _ask(sources, limits)
    found = []
    for client in clients:
        listing = client.listing
        for name in sorted({entry.name for entry in listing.entries}):
            entry = newest(listing.of(name))
            if entry and entry.matches(words):
                found.append(Found(entry, listing.trust.catalogue))
    return Answer(tuple(found), _notes(clients, faults))


def versions(name: str, sources: Sequence[Source], limits: Limits | None = None) -> Answer:
    """All versions of the pack `name`, newest first. Raises CatalogueError if no catalogue lists it."""
    name, _ = split_wanted(name)
    clients, faults = _ask(sources, limits)
    found = [Found(entry, client.listing.trust.catalogue) for client in clients for entry in client.listing.of(name)]
    if not found:
        raise CatalogueError(_missing(name, faults))
    found.sort(key=lambda one: version_key(one.entry.version) or (), reverse=True)
    return Answer(tuple(found), _notes(clients, faults))


def pull(
    wanted: str, sources: Sequence[Source], limits: Limits | None = None, kinds: Sequence[Kind] = (PACK,)
) -> tuple[store.Installed, bool]:
    """Install NAME[@VERSION], the newest version if none is given; what it is, and whether anything was installed.

    kinds: those that are taken. A newer version that is installed stays unless another is asked for. Raises UserError;
    what was installed stays.
    """
    name, version = split_wanted(wanted)
    with store.changing():
        clients, faults = _ask(sources, limits)
        lists = [client for client in clients if client.listing.of(name)]
        if not lists:
            raise CatalogueError(_missing(name, faults))
        if faults:
            raise CatalogueError(f"{faults[0]}; to take {name} from another catalogue, name that with --catalogue")
        if len(lists) > 1:
            known = " and ".join(client.listing.trust.catalogue for client in lists)
            raise CatalogueError(f"{name}: is listed by {known}: say which with --catalogue")
        (client,) = lists
        entry = newest(e for e in client.listing.of(name) if version in (None, e.version))
        if entry is None:
            raise CatalogueError(f"{wanted}: no such version: `duomem pack info {name}` prints those that are there")
        return _install(client, entry, version is None, kinds)


def update(
    names: Sequence[str], sources: Sequence[Source], limits: Limits | None = None
) -> list[tuple[store.Installed, bool]]:
    """Bring installed packs, all or those named, to the newest version in the catalogue each came from.

    Returns each pack, and whether it is a new version. Raises CatalogueError at the first that cannot be brought up.
    """
    with store.changing():
        present = {one.name: one for one in store.installed() if one.kind == PACK.name}
        if unknown := sorted({*names} - present.keys()):
            raise CatalogueError(f"{unknown[0]}: no such pack is installed: first `duomem pack pull {unknown[0]}`")
        asked: dict[str, Client] = {}
        done = []
        for name in names or present:
            trust = present[name].trust
            source = next((one for one in sources if trust.is_from(one.identity, one.url)), None)
            if source is None:
                raise CatalogueError(f"{name}: came from {trust.catalogue}, which is not among the catalogues: add it")
            if source.identity not in asked:
                asked[source.identity] = Client(source, limits)
            client = asked[source.identity]
            entry = newest(client.listing.of(name))
            if entry is None:
                raise CatalogueError(f"{name}: is no more listed by {trust.catalogue}: ask its keeper, or remove it")
            done.append(_install(client, entry, True, (PACK,)))
        return done


def _install(client: Client, entry: Entry, keep_newer: bool, kinds: Sequence[Kind]) -> tuple[store.Installed, bool]:
    kind = next((one for one in kinds if one.name == entry.kind), None)
    if kind is None:
        word = "pack" if entry.kind == PACK.name else "student"
        raise CatalogueError(
            f"{entry.title}: is listed as {entry.kind}: take it with `duomem {word} pull {entry.name}`"
        )
    trust, present = client.listing.trust, store.find_installed(entry.name)
    if present is not None:
        if not present.trust.is_from(trust.identity, trust.catalogue):
            raise CatalogueError(
                f"{entry.name}: is installed from {present.trust.catalogue}: to take it from {trust.catalogue}, "
                f"first `duomem pack remove {entry.name}`"
            )
        newer = (version_key(present.version) or ()) > (version_key(entry.version) or ())
        if (present.sha256 == entry.sha256 and present.path.exists()) or (keep_newer and newer):
            return store.confirm(present, trust) if not newer else present, False
    kind.accept(entry)
    return store.install(entry, client.download(entry), trust, kind), True


def _ask(sources: Sequence[Source], limits: Limits | None) -> tuple[list[Client], list[CatalogueError]]:
    """The catalogues that answer, and the faults of the others. Raises CatalogueError if none does."""
    if not sources:
        raise CatalogueError("no catalogue is known: add one with `duomem pack catalogue add ADDRESS --root root.json`")
    clients, faults = [], []
    for source in sources:
        try:
            clients.append(Client(source, limits))
        except CatalogueError as e:
            faults.append(e)
    if not clients:
        raise faults[0]
    return clients, faults


def _notes(clients: Sequence[Client], faults: Sequence[CatalogueError]) -> tuple[str, ...]:
    return (*map(str, faults), *(line for client in clients for line in client.listing.refused))


def _missing(name: str, faults: Sequence[CatalogueError]) -> str:
    also = f" ({faults[0]})" if faults else ""
    return f"{name}: no catalogue lists such a pack{also}: `duomem pack search` prints those there are"
