"""`duomem pack` for catalogues: add one, search it, pull, update, list and remove what is installed.

What is installed is listed, removed and played without a network.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.catalogue_publish import keys_group, publish_command
from duomem.cli.options import CommandGroup, json_option
from duomem.cli.text import columns
from duomem.cli.values import Address, InputFile

if TYPE_CHECKING:
    from duomem.memory_packs.catalogue.pull import Answer
    from duomem.memory_packs.catalogue.sources import Source

_ROOT = InputFile("root metadata")


def from_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--catalogue and --root: which catalogues to ask."""
    for option in (
        click.option("--root", type=_ROOT, metavar="FILE", help="Root to trust for a --catalogue that was not added."),
        click.option(
            "--catalogue",
            type=Address(),
            metavar="ADDRESS",
            show_default="all that were added",
            help="Ask this catalogue only.",
        ),
    ):
        command = option(command)
    return command


def sources_of(catalogue: str | None, root: Path | None) -> Sequence[Source]:
    """The catalogues that these options name."""
    from duomem.memory_packs.catalogue.sources import Source, find_source, read_root, read_sources

    if catalogue is None:
        if root is not None:
            raise click.UsageError("--root: of which catalogue? Give --catalogue too.")
        return read_sources()
    return [find_source(read_sources(), catalogue) if root is None else Source(catalogue, read_root(root))]


def _print_notes(answer: Answer) -> None:
    for note in answer.notes:
        print(f"duomem: {note}", file=sys.stderr)


@click.group("catalogue", cls=CommandGroup)
def catalogue_group() -> None:
    """Add, list or remove the catalogues that packs come from."""


@catalogue_group.command("add")
@click.argument("address", type=Address())
@click.option(
    "--root", type=_ROOT, required=True, metavar="FILE", help="Its root.json, from its keeper: whom to trust."
)
@click.option("--mirror", "mirrors", type=Address(), multiple=True, metavar="ADDRESS", help="A copy of it. Repeatable.")
def add_command(address: str, root: Path, mirrors: tuple[str, ...]) -> None:
    """Trust the catalogue at ADDRESS, a folder on a web server or on this machine.

    It is asked once, and written down if its metadata is signed as FILE says.
    """
    from duomem.memory_packs.catalogue.client import Client
    from duomem.memory_packs.catalogue.sources import Source, add_source, read_root

    source = Source(address, read_root(root), mirrors)
    listing = Client(source).listing
    add_source(source)
    print(f"{address}: {len(listing.entries)} packs, root keys {' '.join(k[:8] for k in listing.trust.root_keys)}")


@catalogue_group.command("list")
def list_catalogues() -> None:
    """Print the addresses of the catalogues, mirrors behind them."""
    from duomem.memory_packs.catalogue.sources import read_sources

    for source in read_sources():
        print("  ".join((source.url, *source.mirrors)))


@catalogue_group.command("remove")
@click.argument("address", type=Address())
def remove_catalogue(address: str) -> None:
    """Forget the catalogue at ADDRESS; the packs from it stay."""
    from duomem.memory_packs.catalogue.sources import remove_source

    print(f"{remove_source(address).url}: forgotten")


@click.command("search")
@click.argument("words", nargs=-1)
@from_options
@json_option
def search_command(words: tuple[str, ...], catalogue: str | None, root: Path | None, as_json: bool) -> None:
    """Print the packs and students in the catalogues that WORDS are said of, all of them without WORDS.

    If there is none, the exit status is 1.
    """
    from duomem.core.errors import CatalogueError
    from duomem.memory_packs.catalogue.pull import search

    answer = search(words, sources_of(catalogue, root))
    _print_notes(answer)
    if not answer.found:
        raise CatalogueError(f"nothing of which {' '.join(words)!r} is said" if words else "the catalogues are empty")
    _print_found(answer, as_json)


@click.command("info")
@click.argument("name")
@from_options
@json_option
def info_command(name: str, catalogue: str | None, root: Path | None, as_json: bool) -> None:
    """Print what the catalogues say of the pack or student NAME: its versions, newest first."""
    from duomem.memory_packs.catalogue.pull import versions

    answer = versions(name, sources_of(catalogue, root))
    _print_notes(answer)
    _print_found(answer, as_json)
    if not as_json:
        entry = answer.found[0].entry
        if entry.kind == "pack":
            print(f"task types: {', '.join(entry.task_types) or 'none'}")
        else:
            print(f"made of: {entry.model}")
        if entry.arch:
            print(f"runs on: {' '.join((entry.system, entry.arch, *entry.cpu_features))}")
        print(f"sha256: {entry.sha256}")
        print("\n".join(("measured:", *entry.card) if entry.card else ("measured: nothing",)))


def _print_found(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"found": [{**one.entry.to_json(), "catalogue": one.catalogue} for one in answer.found]}))
        return
    rows: list[Sequence[object]] = [("name", "kind", "version", "memories", "MB", "licence", "author", "catalogue")]
    for one in answer.found:
        e = one.entry
        memories = e.entries if e.kind == "pack" else "-"
        size = f"{e.size / 1e6:.2f}"
        rows.append((e.name, e.kind, e.version, memories, size, e.licence or "-", e.author or "-", one.catalogue))
    print(columns(rows, left=(0, 1, 2, 5, 6, 7)))


@click.command("pull")
@click.argument("names", metavar="NAME[@VERSION]...", nargs=-1, required=True)
@from_options
def pull_command(names: tuple[str, ...], catalogue: str | None, root: Path | None) -> None:
    """Download packs, verify and install them; then play with --pack NAME.

    A download that was interrupted goes on where it stopped.
    """
    from duomem.memory_packs.catalogue.pull import pull

    for name in names:
        found, new = pull(name, sources_of(catalogue, root))
        print(f"{'installed' if new else 'up to date'}: {found.said()}")


@click.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Print the installed packs and students, who vouches for each, and since when."""
    from duomem.memory_packs.catalogue.store import installed

    found = installed()
    if as_json:
        print(json.dumps({"installed": [one.to_json() for one in found]}))
    for one in () if as_json else found:
        print(one.said())


@click.command("update")
@click.argument("names", nargs=-1)
@from_options
def update_command(names: tuple[str, ...], catalogue: str | None, root: Path | None) -> None:
    """Bring the packs NAMES, or all that are installed, to their newest versions."""
    from duomem.memory_packs.catalogue.pull import update

    for found, new in update(names, sources_of(catalogue, root)):
        print(f"{'updated' if new else 'up to date'}: {found.said()}")


@click.command("remove")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def remove_command(names: tuple[str, ...]) -> None:
    """Remove installed packs or students."""
    from duomem.memory_packs.catalogue.store import remove

    for name in names:
        print(f"removed: {name} {remove(name).version}")


CATALOGUE_COMMANDS = (
    search_command,
    info_command,
    pull_command,
    list_command,
    update_command,
    remove_command,
    catalogue_group,
    publish_command,
    keys_group,
)
"""What `duomem pack` has of catalogues."""
