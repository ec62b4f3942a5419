"""A kit's packs and who vouches for them: signed metadata goes into it, and is verified when it is unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

_SUFFIX = ".trust"
"""Of the folder beside a pack."""


def carry_all(packs: Sequence[Path], place: Path) -> list[Path]:
    """Write, below the folder `place`, the metadata of those of `packs` that are installed; a folder a pack.

    A pack whose metadata is not to be had goes without; that is told.
    """
    from duomem.core.errors import CatalogueError
    from duomem.memory_packs.catalogue.store import installed

    found = {one.path: one for one in installed() if one.kind == "pack"}
    folders = []
    for pack in packs:
        if pack not in found:
            continue
        folder = place / f"{pack.stem}{_SUFFIX}"
        try:
            from duomem.memory_packs.catalogue.carried import carry

            carry(found[pack], folder)
            folders.append(folder)
        except CatalogueError as e:
            click.echo(f"duomem: {pack.name} goes into the kit without its signatures: {e}", err=True)
    return folders


def tell_carried(folder: Path) -> None:
    """Print who vouches for each pack in `folder` that metadata came with; what is past its time is told.

    Raises CatalogueError for metadata that is not signed as it should be, or is of another file.
    """
    from duomem.core.errors import CatalogueError

    for trust in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            from duomem.memory_packs.catalogue.carried import carried
        except CatalogueError as e:
            click.echo(f"duomem: {trust}: not verified: {e}", err=True)
            return
        from duomem.memory_packs.catalogue.sources import read_sources

        entry, why = carried(trust, trust.with_suffix(".dmpack"))
        known = next((one.url for one in read_sources() if one.identity == why.identity), None)
        whose = f"of {known}" if known else "of a catalogue that was not added here: compare them"
        print(
            f"{entry.title}: signed under root {why.root_version}, keys {', '.join(k[:8] for k in why.root_keys)} "
            f"({whose}), vouched for {why.lasts}"
        )
