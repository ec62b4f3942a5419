"""`duomem kit`: the folder and archive that a device installs from offline, made or unpacked.

Runs on the host, and reaches for the package index only for wheels it has not fetched before.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.options import PACK, CommandGroup, expect_option, json_option
from duomem.cli.values import COUNT, BundleFolder, InputFile, InputFolder, OutputFolder
from duomem.deploy.wheels import PLATFORMS, PYTHONS

if TYPE_CHECKING:
    from duomem.device.engine.bundle import Bundle


@click.group(cls=CommandGroup)
def kit() -> None:
    """Make or unpack a device's folder for an offline install."""


@kit.command("make")
@click.option("--bundle", type=BundleFolder(), required=True, metavar="DIR", help="Bundle made by `duomem compile`.")
@click.option(
    "--pack",
    "packs",
    type=PACK,
    multiple=True,
    metavar="FILE",
    help="Memory pack. Repeat it for more; `play` uses the first one.",
)
@click.option("--platform", type=click.Choice(tuple(PLATFORMS)), required=True, help="The device's system and CPU.")
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="VERSION",
    show_default=", ".join(PYTHONS),
    help="CPython version on the device, for example 3.12. Repeat it for more.",
)
@click.option(
    "--games",
    type=InputFolder("folder of games"),
    metavar="DIR",
    help="Put games of this folder's valid_seen split into the kit.",
)
@click.option("--limit", type=COUNT, default=12, metavar="N", help="Number of these games.")
@click.option(
    "--wheel",
    "wheels",
    type=InputFile("wheel file"),
    multiple=True,
    metavar="FILE",
    help="One more wheel, for example duomem-vulkan's for the device. Repeat it for more.",
)
@click.option(
    "--cache",
    type=OutputFolder(),
    default=Path("runs/wheels"),
    metavar="DIR",
    help="Folder that keeps fetched wheels.",
)
@click.option(
    "--out", type=OutputFolder(), required=True, metavar="DIR", help="Folder to write; the archive is DIR.tar.gz."
)
@json_option
def make_command(
    bundle: Path,
    packs: tuple[Path, ...],
    platform: str,
    pythons: tuple[str, ...],
    games: Path | None,
    limit: int,
    wheels: tuple[Path, ...],
    cache: Path,
    out: Path,
    as_json: bool,
) -> None:
    """Add to a bundle what a device needs to install and run it offline.

    That is wheels, memory packs, games, an installer and scripts to start it; as a folder and as a .tar.gz. The device
    needs Python and sh.
    """
    from duomem.cli.carried import carry_all
    from duomem.deploy.archive import archive_of, write_archive
    from duomem.deploy.kit import Kit, make_kit
    from duomem.memory_packs.pack import read_pack

    for version in pythons:
        if not re.fullmatch(r"3\.1[1-9]", version):
            raise click.UsageError(f"--python {version}: give a version from 3.11 on, as 3.12.")
    for wheel in wheels:
        if wheel.suffix != ".whl":
            raise click.UsageError(f"--wheel {wheel}: is no wheel file: give a .whl.")
    for pack in packs:
        read_pack(pack)
    versions = tuple(dict.fromkeys(pythons)) or PYTHONS
    with tempfile.TemporaryDirectory() as place:
        trusts = carry_all(packs, Path(place))
        contents = Kit(PLATFORMS[platform], cache, versions, packs, games, limit, wheels, trusts)
        made, new = make_kit(bundle, contents, out)
    archive = archive_of(out)
    if new or not archive.is_file():
        write_archive(made, archive)
    if as_json:
        from duomem.deploy.kit import sizes

        sums = {"bytes": sizes(made), "archive_bytes": archive.stat().st_size}
        print(json.dumps({"folder": str(out), "archive": str(archive), "new": new, **sums}))
    else:
        _tell(made, out, archive, new)


@kit.command("unpack")
@click.argument("archive", type=InputFile("archive"))
@click.option("--out", type=OutputFolder(), required=True, metavar="DIR", help="Folder to write.")
@expect_option("ARCHIVE")
def unpack_command(archive: Path, out: Path, expect: str | None) -> None:
    """Verify ARCHIVE, a kit's .tar.gz, and unpack it; say who vouches for the packs in it."""
    from duomem.cli.carried import tell_carried
    from duomem.core.files import check_sha256
    from duomem.deploy.archive import unpack_archive

    if expect is not None:
        check_sha256(archive, expect, "archive")
    _tell(unpack_archive(archive, out), out, archive, True)
    tell_carried(out / "packs")


def _tell(bundle: Bundle, out: Path, archive: Path, new: bool) -> None:
    from duomem.deploy.kit import sizes

    print(f"{out}: {'verified and written' if new else 'up to date, nothing to do'}")
    for name, size in sizes(bundle).items():
        print(f"  {name:8} {size / 1e6:8.1f} MB")
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB")
