"""The wheels of an offline install, fetched from the package index for another machine, each pinned by its digest.

A device needs neither pip nor a compiler: its installer unpacks them (device.install).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from duomem.core.errors import BundleError
from duomem.core.files import sha256_file
from duomem.core.process import TIMED_OUT, python_module, run

_PLAYER = ("apache-tvm", "apache-tvm-ffi", "click", "ml_dtypes", "numpy", "rich", "tokenizers", "typing_extensions")
_SERVER = ("anyio", "h11", "idna", "starlette", "uvicorn")
_PACKAGES = (*_PLAYER, *_SERVER)
"""What duomem's command imports on a device, itself or through TVM. Not what these name and it never reaches:
huggingface-hub, with which tokenizers fetches models, and with which rich shows Markdown and source code."""
_LOCK = Path(str(files("duomem.deploy") / "wheels.lock"))
_LOCKED = re.compile(r"^(\S+)==(\S+)[^\n]*\n((?: +--hash=sha256:[0-9a-f]{64}\b.*\n)+)", re.MULTILINE)
_TIMEOUT = 1800


@dataclass(frozen=True)
class Platform:
    """A device's operating system and CPU. tags: what its wheels may be built for, as pip names them.

    system, machine: what Python's platform module says there. needs: what those wheels ask for, in words.
    """

    name: str
    tags: tuple[str, ...]
    system: str
    machine: str
    needs: str


def _linux(machine: str) -> Platform:
    tags = (*(f"manylinux_2_{n}_{machine}" for n in (28, 27, 24, 17)), f"manylinux2014_{machine}")
    return Platform(machine, tags, "Linux", machine, "glibc 2.28 or later (Debian 10, Ubuntu 20.04 and newer)")


_MACOS = (
    *(f"macosx_{n}_0_{kind}" for n in (14, 13, 12, 11) for kind in ("arm64", "universal2")),
    "macosx_10_13_universal2",
    "macosx_10_9_universal2",
)
PLATFORMS = {
    platform.name: platform
    for platform in (
        _linux("aarch64"),
        _linux("x86_64"),
        Platform("macos_arm64", _MACOS, "Darwin", "arm64", "macOS 14 or later on Apple silicon"),
    )
}
PYTHONS = ("3.11", "3.12", "3.13")
"""CPython versions that a device gets wheels for by default: those of Debian 12 and 13, Ubuntu 24.04 and JetPack 7."""


def pins() -> dict[str, str]:
    """Version of each package a device gets: those installed here, which the student was compiled and tested with.

    Raises BundleError if one is missing.
    """
    try:
        return {name: importlib.metadata.version(name) for name in _PACKAGES}
    except importlib.metadata.PackageNotFoundError as e:
        raise BundleError(
            f"{e.name}: is not installed, so its version for the device is not known: pip install it"
        ) from None


def locked_digests() -> dict[tuple[str, str], frozenset[str]]:
    """The SHA-256 of the wheels of each (package, version) that wheels.lock names, hex; names with hyphens."""
    found = _LOCKED.findall(_LOCK.read_text(encoding="utf-8"))
    return {(name, version): frozenset(re.findall("[0-9a-f]{64}", hashes)) for name, version, hashes in found}


def fetch_wheels(platform: Platform, python: str, cache: Path) -> list[Path]:
    """The wheels of `pins` for `platform` and CPython `python` ("3.11"), in `cache`; those there are not fetched again.

    Raises BundleError, with pip's last line, if one cannot be had, and if one is not what wheels.lock says.
    """
    cache.mkdir(parents=True, exist_ok=True)
    locked = locked_digests()
    found = []
    for name, version in pins().items():
        digests = locked.get((name.replace("_", "-"), version))
        if digests is None:
            raise BundleError(
                f"{name} {version}: is installed here but not pinned for devices: pip install -c constraints.txt {name}"
            )
        wheel = _cached(cache, name, version, platform, python)
        if wheel is None:
            with tempfile.TemporaryDirectory(prefix=".pip-", dir=cache) as folder:
                done = run(_pip_download(name, version, platform, python, folder), _TIMEOUT)
                wheels = list(Path(folder).glob("*.whl"))
                if done.status == TIMED_OUT:
                    raise BundleError(f"{name} {version}: pip takes more than {_TIMEOUT:g} s: try again")
                if done.status or len(wheels) != 1:
                    raise BundleError(
                        f"{name} {version}: no wheel for {platform.name}, Python {python}: {done.last_line}"
                    )
                _check_digest(wheels[0], digests)
                wheel = cache / wheels[0].name
                os.replace(wheels[0], wheel)
        else:
            _check_digest(wheel, digests)
        found.append(wheel)
    return found


def _check_digest(wheel: Path, digests: frozenset[str]) -> None:
    found = sha256_file(wheel)
    if found not in digests:
        raise BundleError(
            f"{wheel}: its SHA-256 {found} is none that wheels.lock pins: remove it, and ask your package index"
        )


def _pip_download(name: str, version: str, platform: Platform, python: str, folder: str) -> list[str]:
    """The command that puts one wheel into `folder`."""
    options = ["--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    options += ["--implementation", "cp", "--python-version", python, "--dest", folder]
    options += [part for tag in platform.tags for part in ("--platform", tag)]
    return python_module("pip", *options, f"{name}=={version}")


def _cached(cache: Path, name: str, version: str, platform: Platform, python: str) -> Path | None:
    """A wheel in `cache` that fits. Names as in the wheel specification: name-version-python-abi-platforms.whl."""
    number = python.replace(".", "")
    for path in sorted(cache.glob("*.whl")):
        parts = path.stem.split("-")
        if len(parts) != 5 or parts[0].lower().replace("-", "_") != name.replace("-", "_") or parts[1] != version:
            continue
        fits = parts[2] in (f"cp{number}", "py3", "py2.py3") or parts[3] == "abi3"
        if fits and (parts[4] == "any" or set(parts[4].split(".")) & set(platform.tags)):
            return path
    return None
