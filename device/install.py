"""Installing a bundle's runtime on the device that holds it: wheels unpacked with Python alone, no pip, no network.

install.sh runs this from duomem's own wheel, before anything is installed: standard library only.
"""

from __future__ import annotations

import argparse
import errno
import platform
import re
import stat
import sys
from pathlib import Path
from typing import IO

from duomem.core.errors import BundleError, UserError, printable
from duomem.core.files import atomic_folder
from duomem.core.reading import digest_of, open_regular
from duomem.core.zip_member import NoLzmaError, ZipError, list_members, read_pieces
from duomem.device.engine.bundle import Bundle, read_bundle

_MAX_UNPACKED = 1 << 30
_PART = re.compile(r"[^\x00-\x1f/\\:]{1,200}")


def install(folder: Path, home: Path) -> Path:
    """Verify the bundle in `folder` and unpack its wheels for this Python below `home`; the folder they are in.

    What is there whole already is left alone: the folder's name is the digest of the wheels. Raises BundleError if
    the bundle is damaged, is for another machine or Python, or a wheel holds anything but plain files.
    """
    bundle = read_bundle(folder)
    wheels = wheels_for(bundle, platform.system(), platform.machine(), sys.version_info[:2])
    files = bundle.manifest["files"]
    name = digest_of([files[wheel]["sha256"] for wheel in wheels])[:20]
    runtime = home / f"runtime-{name}"
    if not runtime.is_dir():
        with atomic_folder(runtime) as work:
            for wheel in wheels:
                unpack_wheel(bundle.folder / wheel, work)
    return runtime


def wheels_for(bundle: Bundle, system: str, machine: str, python: tuple[int, ...]) -> list[str]:
    """Names of the wheels that a Python of this version needs. Raises BundleError if the bundle has none for it."""
    kit = bundle.manifest.get("kit")
    if kit is None:
        raise BundleError(f"{bundle.folder}: brings no wheels: make it with duomem kit make")
    if (kit["system"], kit["machine"]) != (system, machine):
        raise BundleError(
            f"{bundle.folder}: is for {kit['system']} {kit['machine']}, this is {system} {machine}: "
            "take the bundle for this machine"
        )
    version = ".".join(map(str, python[:2]))
    if version not in kit["pythons"]:
        raise BundleError(
            f"{bundle.folder}: brings wheels for Python {', '.join(kit['pythons'])}, this is {version}: "
            f"install one of those, or make the bundle with duomem kit make --python {version}"
        )
    tag = f"cp{version.replace('.', '')}"
    wheels = []
    for name in sorted(name for name in bundle.manifest["files"] if name.startswith("wheels/")):
        parts = name.removesuffix(".whl").split("-")
        if len(parts) < 5:
            raise BundleError(
                f"{bundle.folder}: {name} has no wheel's name: make the bundle again with duomem kit make"
            )
        interpreter, abi = parts[-3:-1]
        if interpreter == tag or abi == "abi3" or interpreter.startswith("py"):
            wheels.append(name)
    return wheels


def unpack_wheel(wheel: Path, out: Path) -> None:
    """Unpack `wheel` into the folder `out`. Raises BundleError on links, paths out of it and what is too large."""
    try:
        with open_regular(wheel) as f:
            _unpack(wheel, f, out)
    except NoLzmaError as e:
        raise BundleError(
            f"{wheel}: cannot be unpacked by {sys.executable} ({e}): use another Python, as the system's, "
            "and name it in PYTHON"
        ) from None
    except ZipError as e:
        raise BundleError(f"{wheel}: cannot be unpacked ({e}): copy the bundle again") from None


def _unpack(wheel: Path, f: IO[bytes], out: Path) -> None:
    entries = [entry for entry in list_members(f) if not entry.is_dir()]
    if sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
        raise BundleError(f"{wheel}: unpacks to more than {_MAX_UNPACKED >> 20} MiB: not a wheel of a bundle")
    for entry in entries:
        parts = entry.filename.split("/")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        plain = all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
        if not plain or kind not in (0, stat.S_IFREG):
            raise BundleError(f"{wheel}: {entry.filename[:200]!r} is no plain file inside it: make the bundle again")
        if len(parts) > 2 and parts[0].endswith(".data"):  # what pip would move: libraries belong to the top
            parts = parts[2:] if parts[1] in ("purelib", "platlib") else []
        if parts:
            target = out.joinpath(*parts)
            with _create(target, f"{wheel}: {entry.filename[:200]!r}") as file:
                for piece in read_pieces(f, entry):
                    file.write(piece)


def _create(target: Path, where: str) -> IO[bytes]:
    """Open `target` to be written, in folders made for it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return open(target, "wb")
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise BundleError(f"{where} is a file and a folder: make the bundle again") from None


def main() -> int:
    """`python -m duomem.device.install BUNDLE HOME`: install, and print the runtime's folder."""
    parser = argparse.ArgumentParser(prog="install.sh", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("home", type=Path)
    args = parser.parse_args()
    try:
        print(install(args.bundle, args.home))
    except UserError as e:
        print(f"install.sh: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        advice = "free space, or " if e.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        line = f"{e.filename or args.home}: {e.strerror}: {advice}set DUOMEM_HOME to a folder to write in"
        print(f"install.sh: {printable(line)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
