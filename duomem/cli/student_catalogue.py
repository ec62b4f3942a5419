"""`duomem student publish` and `pull`: adapters and bundles in a catalogue.

The `pack` commands never install a student: a bundle is a program, so whoever takes one says so.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.catalogue import from_options, sources_of
from duomem.cli.catalogue_publish import print_published, signing_options
from duomem.cli.values import InputFolder, OutputFolder

if TYPE_CHECKING:
    from duomem.device.engine.bundle import Bundle
    from duomem.memory_packs.catalogue.entry import Entry

_SYSTEMS = {".so": "Linux", ".dylib": "Darwin"}


@click.command("publish")
@click.argument("catalogue", type=OutputFolder())
@click.argument("folder", type=InputFolder("adapter or bundle"))
@click.option("--name", required=True, metavar="NAME", help="Name to list it by.")
@click.option("--version", required=True, metavar="VERSION", help="Its version, as 1.2.0.")
@click.option("--licence", required=True, metavar="SPDX", help="Licence of its weights, as Apache-2.0.")
@click.option("--author", default="", metavar="NAME", show_default="nobody", help="Who made it.")
@signing_options
def publish_command(
    catalogue: Path,
    folder: Path,
    name: str,
    version: str,
    licence: str,
    author: str,
    key_folders: tuple[Path, ...],
    publisher: str | None,
    threshold: int,
    days: int,
) -> None:
    """Add FOLDER, an adapter or a bundle, to CATALOGUE, a folder for any web server, and sign it.

    Of an adapter, its three files are published; of a bundle, all. A version that is published is never changed.
    """
    from duomem.core.errors import FileError
    from duomem.device.engine.manifest import MANIFEST
    from duomem.memory_packs.catalogue.entry import Entry
    from duomem.memory_packs.catalogue.offer import offer_adapter, offer_folder
    from duomem.memory_packs.catalogue.publish import publish_offers

    if (folder / MANIFEST).exists():
        bundle = _bundle(folder)
        told = _described(bundle, Entry("bundle", name, version, "", 0, author, licence))
        offer = offer_folder(folder, (MANIFEST, *bundle.manifest["files"]), told, publisher)
    elif (folder / "adapter_config.json").exists():
        offer = offer_adapter(folder, name, version, author, licence, publisher)
    else:
        raise FileError(
            f"{folder}: neither a {MANIFEST} nor an adapter_config.json in it: give what duomem train or compile made"
        )
    print_published(catalogue, publish_offers(catalogue, [offer], key_folders, publisher, threshold, days))


@click.command("pull")
@click.argument("names", metavar="NAME[@VERSION]...", nargs=-1, required=True)
@click.option("--any-cpu", is_flag=True, help="Take a bundle of another CPU too, to deploy it or make a kit.")
@from_options
def pull_command(names: tuple[str, ...], any_cpu: bool, catalogue: str | None, root: Path | None) -> None:
    """Download adapters or bundles, verify and install them; then give NAME where a folder is asked for.

    A download that was interrupted goes on where it stopped. A bundle is a program that runs with your rights.
    """
    from duomem.memory_packs.catalogue.kinds import ADAPTER, Kind
    from duomem.memory_packs.catalogue.pull import pull

    bundle = Kind("bundle", _check_bundle, lambda entry: _accept_bundle(entry, any_cpu))
    for name in names:
        found, new = pull(name, sources_of(catalogue, root), kinds=(ADAPTER, bundle))
        print(f"{'installed' if new else 'up to date'}: {found.said()}")


def _bundle(folder: Path) -> Bundle:
    """A bundle that can be published, verified."""
    from duomem.core.errors import BundleError
    from duomem.device.engine.bundle import read_bundle

    bundle = read_bundle(folder)
    if "kit" in bundle.manifest:
        raise BundleError(f"{folder}: is a kit: publish the bundle it was made of")
    return bundle


def _described(bundle: Bundle, entry: Entry) -> Entry:
    """`entry` with what the bundle's manifest says of it: the model, and the machine its least library needs."""
    manifest = bundle.manifest
    least = min(bundle.libraries, key=lambda library: len(library.cpu_features))
    return replace(
        entry,
        model=f"{manifest['model']['id']} {bundle.quantization} for {manifest['target']['name']}",
        system=_SYSTEMS.get(Path(least.file).suffix, ""),
        arch=bundle.arch,
        cpu_features=tuple(sorted(least.cpu_features)),
    )


def _check_bundle(path: Path, entry: Entry) -> None:
    from duomem.core.errors import BundleError

    if _described(_bundle(path), entry) != entry:
        raise BundleError(f"{entry.title}: is of another model or machine than the catalogue says: ask its publisher")


def _accept_bundle(entry: Entry, any_cpu: bool) -> None:
    """Say what a bundle is; raise BundleError for one that cannot run here."""
    from duomem.core.cpu import cpu_arch, cpu_features
    from duomem.core.errors import BundleError

    features, system = cpu_features(), platform.system()
    here = entry.arch == cpu_arch() and (system not in _SYSTEMS.values() or entry.system == system)
    missing = sorted({*entry.cpu_features} - features) if features is not None else []
    if not any_cpu and not (here and not missing):
        needs = f" with {', '.join(missing)}" if here else f", this is {system} {cpu_arch()}"
        raise BundleError(
            f"{entry.title}: is compiled for {entry.system} {entry.arch}{needs}: nothing was downloaded; "
            "take it all the same with --any-cpu to deploy it"
        )
    click.echo(
        f"duomem: {entry.title} is a program: it will run with your rights, and you trust its publisher for that",
        err=True,
    )
