"""`duomem kit`: make the folder and archive that a device installs from offline, or unpack such an archive.

Runs on the host, and reaches for the package index only for wheels it has not fetched before.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from duomem.cli.options import count
from duomem.core.errors import UserError


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the `duomem` command."""
    parser = verbs.add_parser(
        "kit",
        help="make a device's folder for an offline install",
        description="Add to a compiled bundle what a device needs to install and run it offline: wheels, a pack, "
        "games, an installer and starters; as a folder and as a .tar.gz. The device needs Python and sh.",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="bundle made by `duomem compile`")
    parser.add_argument(
        "--pack",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="memory pack; the first of several is what `play` uses",
    )
    parser.add_argument("--platform", choices=("aarch64", "x86_64", "macos_arm64"), help="the device's system and CPU")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="VERSION",
        help="CPython on the device, may be repeated (default: 3.11, 3.12 and 3.13)",
    )
    parser.add_argument("--games", type=Path, metavar="DIR", help="bring games of this folder's valid_seen split")
    parser.add_argument("--limit", type=count, default=12, metavar="N", help="how many of them (%(default)s)")
    parser.add_argument(
        "--wheel",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="one more wheel, such as duomem-vulkan's for the device",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/wheels"),
        metavar="DIR",
        help="where fetched wheels are kept (%(default)s)",
    )
    parser.add_argument(
        "--unpack", type=Path, metavar="ARCHIVE", help="instead: verify an archive and unpack it to --out"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write; the archive is DIR.tar.gz beside it"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Make the kit or unpack one. Raises UserError."""
    import re

    from duomem.deploy.archive import archive_of, unpack_archive, write_archive
    from duomem.deploy.kit import Kit, make_kit, sizes
    from duomem.deploy.wheels import PLATFORMS, PYTHONS
    from duomem.memory_packs.pack import read_pack

    if args.unpack is not None:
        bundle, new, archive = unpack_archive(args.unpack, args.out), True, args.unpack
    else:
        if args.bundle is None or args.platform is None:
            raise UserError("kit: give --bundle DIR and --platform NAME, or --unpack ARCHIVE")
        for version in args.python:
            if not re.fullmatch(r"3\.1[1-9]", version):
                raise UserError(f"--python {version}: give a version from 3.11 on, as 3.12")
        for pack in args.pack:
            read_pack(pack)
        for wheel in args.wheel:
            if wheel.suffix != ".whl" or not wheel.is_file():
                raise UserError(f"--wheel {wheel}: is no wheel file: give a .whl")
        kit = Kit(
            PLATFORMS[args.platform],
            args.cache,
            tuple(dict.fromkeys(args.python)) or PYTHONS,
            args.pack,
            args.games,
            args.limit,
            args.wheel,
        )
        bundle, new = make_kit(args.bundle, kit, args.out)
        archive = archive_of(args.out)
        if new or not archive.is_file():
            write_archive(bundle, archive)
    parts = sizes(bundle)
    if args.json:
        print(
            json.dumps(
                {
                    "folder": str(args.out),
                    "archive": str(archive),
                    "new": new,
                    "bytes": parts,
                    "archive_bytes": archive.stat().st_size,
                }
            )
        )
        return
    print(f"{args.out}: {'verified and written' if new else 'up to date, nothing to do'}")
    for name, size in parts.items():
        print(f"  {name:8} {size / 1e6:8.1f} MB")
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB")
