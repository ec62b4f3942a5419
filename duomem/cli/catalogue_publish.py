"""`duomem pack publish` and `duomem pack keys`: what the keeper of a catalogue, or a publisher in one, does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.options import CommandGroup
from duomem.cli.values import COUNT, InputFile, InputFolder, OutputFolder

if TYPE_CHECKING:
    from duomem.memory_packs.catalogue.publish import Published

_KEYS = click.option(
    "--keys",
    "key_folders",
    type=InputFolder("folder of keys"),
    required=True,
    multiple=True,
    metavar="DIR",
    help="Folder of keys to sign with. Repeat it for keys kept apart.",
)


def signing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--keys, --publisher, --threshold and --days: who signs, and for how long."""
    for option in (
        click.option("--days", type=COUNT, default=30, metavar="N", help="Days until it must be signed again."),
        click.option(
            "--threshold", type=COUNT, default=1, metavar="N", help="Root keys that must sign, of a new catalogue."
        ),
        click.option(
            "--publisher", metavar="NAME", show_default="the catalogue's keeper", help="Publish as this publisher."
        ),
        _KEYS,
    ):
        command = option(command)
    return command


@click.command("publish")
@click.argument("catalogue", type=OutputFolder())
@click.argument("packs", metavar="[PACK]...", type=InputFile("memory pack"), nargs=-1)
@signing_options
def publish_command(
    catalogue: Path,
    packs: tuple[Path, ...],
    key_folders: tuple[Path, ...],
    publisher: str | None,
    threshold: int,
    days: int,
) -> None:
    """Add packs to CATALOGUE, a folder for any web server, and sign it; without a PACK, sign it again.

    The folder is begun if it is not there. A version that is published is never changed.
    """
    from duomem.memory_packs.catalogue.publish import publish

    done = publish(catalogue, packs, key_folders, publisher, threshold, days)
    print_published(catalogue, done)


def print_published(catalogue: Path, done: Published) -> None:
    """What a run added, and what is to be done next."""
    for entry in done.new:
        what = f"{entry.entries} memories" if entry.kind == "pack" else f"{entry.kind} of {entry.size / 1e6:.1f} MB"
        print(f"{catalogue}: {entry.title}, {what}, sha256 {entry.sha256}")
    if done.unlisted:
        print(f"{catalogue}: not listed yet: its keeper runs `duomem pack publish {catalogue} --keys DIR`")
    else:
        print(f"{catalogue}: signed, to be signed again by {done.expires}")


@click.group("keys", cls=CommandGroup)
def keys_group() -> None:
    """Make and replace the keys that a catalogue is signed with."""


@keys_group.command("new")
@click.argument("folder", metavar="DIR", type=OutputFolder())
@click.option(
    "--role", metavar="ROLE", show_default="all four", help="root, targets, snapshot, timestamp or a publisher."
)
@click.option("--count", type=COUNT, default=1, metavar="N", help="Number of keys.")
def new_command(folder: Path, role: str | None, count: int) -> None:
    """Make signing keys in DIR: ROLE-ID.pem is private, ROLE-ID.pub.json is for others."""
    from duomem.memory_packs.catalogue.entry import RESERVED
    from duomem.memory_packs.catalogue.keys import new_key

    for name in (role,) if role else RESERVED:
        for _ in range(count):
            print(f"{folder}: {name} key {new_key(folder, name).keyid}")


@keys_group.command("rotate")
@click.argument("catalogue", type=InputFolder("catalogue"))
@_KEYS
@click.option("--role", required=True, metavar="ROLE", help="root, targets, snapshot or timestamp.")
@click.option("--retire", multiple=True, metavar="ID", show_default="all of them", help="Key to replace. Repeatable.")
@click.option("--threshold", type=COUNT, metavar="N", show_default="as before", help="Root keys that must sign then.")
def rotate_command(
    catalogue: Path, key_folders: tuple[Path, ...], role: str, retire: tuple[str, ...], threshold: int | None
) -> None:
    """Replace the keys of ROLE in CATALOGUE by new ones, made in the first DIR."""
    from duomem.memory_packs.catalogue.publish import rotate

    for keyid in rotate(catalogue, role, key_folders, retire, threshold):
        print(f"{catalogue}: {role} key {keyid}")


@keys_group.command("delegate")
@click.argument("catalogue", type=InputFolder("catalogue"))
@click.argument("publisher")
@click.argument("public_keys", metavar="PUBLIC_KEY...", type=InputFile("public key"), nargs=-1, required=True)
@_KEYS
def delegate_command(
    catalogue: Path, publisher: str, public_keys: tuple[Path, ...], key_folders: tuple[Path, ...]
) -> None:
    """Let PUBLISHER sign for packs PUBLISHER/NAME in CATALOGUE, with these keys and no others."""
    from duomem.memory_packs.catalogue.publish import delegate

    delegate(catalogue, publisher, public_keys, key_folders)
    print(f"{catalogue}: {publisher} signs for {publisher}/NAME")
