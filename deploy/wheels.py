"""The wheels of an offline install: fetched for another machine, TVM's cut down to its runtime, duomem's own made here.

A device needs neither pip nor a compiler: its installer unpacks them (device.install).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.base.errors import UserError
from duomem.base.files import atomic_open

TOP_PACKAGES = ("base", "memory_packs", "device", "train", "compile", "deploy", "cli", "configs")
RUNTIME_VERSION = "+runtime"
"""Local version of the cut TVM wheel, so that nobody takes it for the whole one."""
_PACKAGES = ("apache-tvm", "apache-tvm-ffi", "ml_dtypes", "numpy", "tokenizers", "tqdm", "typing_extensions")
"""What duomem.device imports, itself or through TVM. tokenizers' huggingface-hub only fetches models."""
_TVM_KEPT = ("backend", "driver", "ir", "rpc", "runtime", "script", "support", "sym", "target", "te", "tirx")
"""Folders of TVM's Python that `import tvm` loads without the compiler library."""
_TVM_LIBRARY = re.compile(r"tvm/lib/libtvm_runtime(_extra|_metal)?\.(so|dylib)")
_SUFFIXES = (".py", ".toml", ".jsonl", ".sh")
_NOTICE = """
This copy holds the runtime only. duomem removed the compiler library, the frontends, the headers and the
sources, and changed no file but the list of files and the version.
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_TIMEOUT = 1800


@dataclass(frozen=True)
class Platform:
    """A device's operating system and CPU. tags: what its wheels may be built for, as pip names them.

    system, machine: what Python's platform module says there. pythons: interpreters to bring wheels for by default.
    """

    name: str
    tags: tuple[str, ...]
    system: str
    machine: str
    pythons: tuple[str, ...]


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform("aarch64", (*(f"manylinux_2_{n}_aarch64" for n in (28, 27, 24, 17)), "manylinux2014_aarch64"),
                 "Linux", "aarch64", ("3.11",)),
        Platform("x86_64", (*(f"manylinux_2_{n}_x86_64" for n in (28, 27, 24, 17)), "manylinux2014_x86_64"),
                 "Linux", "x86_64", ("3.11",)),
        Platform("macos_arm64", tuple(f"macosx_{n}_0_arm64" for n in (14, 13, 12, 11)), "Darwin", "arm64", ("3.11",)),
    )
}


def pins() -> dict[str, str]:
    """Version of each package a device gets: those installed here, which the student was compiled and tested with.

    Raises UserError if one is missing.
    """
    try:
        return {name: importlib.metadata.version(name) for name in _PACKAGES}
    except importlib.metadata.PackageNotFoundError as e:
        raise UserError(f"{e.name}: is not installed, so its version for the device is not known: "
                        "pip install it") from None


def fetch_wheels(platform: Platform, python: str, cache: Path) -> list[Path]:
    """The wheels of `pins` for `platform` and CPython `python` ("3.11"), in `cache`; those there are not fetched again.

    Raises UserError, with pip's last line, if one cannot be had.
    """
    cache.mkdir(parents=True, exist_ok=True)
    tags = [part for tag in platform.tags for part in ("--platform", tag)]
    found = []
    for name, version in pins().items():
        wheel = _cached(cache, name, version, platform, python)
        if wheel is None:
            with tempfile.TemporaryDirectory(prefix=".pip-", dir=cache) as folder:
                command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
                           "--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
                           *tags, "--dest", folder, f"{name}=={version}"]
                try:
                    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT,
                                          stdin=subprocess.DEVNULL)
                except subprocess.TimeoutExpired:
                    raise UserError(f"{name} {version}: pip takes more than {_TIMEOUT} s: try again") from None
                wheels = list(Path(folder).glob("*.whl"))
                if done.returncode or len(wheels) != 1:
                    why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
                    raise UserError(f"{name} {version}: no wheel for {platform.name}, Python {python}: {why}")
                wheel = cache / wheels[0].name
                os.replace(wheels[0], wheel)
        found.append(wheel)
    return found


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


def slim_tvm(wheel: Path, out: Path) -> Path:
    """Write the runtime part of TVM's `wheel` into the folder `out` as a wheel of its own; its path.

    Keeps the runtime libraries, the Python that `import tvm` loads without the compiler, licence and notice. The
    same wheel gives the same bytes. Raises UserError if `wheel` is not TVM's.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(name) for name in archive.namelist() if _kept(name)}
    except (OSError, zipfile.BadZipFile) as e:
        raise UserError(f"{wheel}: is no wheel ({e}): remove it, it is fetched again") from None
    if not any(_TVM_LIBRARY.fullmatch(name) for name in files):
        raise UserError(f"{wheel}: holds no libtvm_runtime: is this apache-tvm's wheel? remove it to fetch it again")
    version = wheel.name.split("-")[1]
    renamed = {}
    for name, data in files.items():
        if name.endswith(".dist-info/METADATA"):
            old = f"\nVersion: {version}\n"
            data = data.replace(old.encode(), f"{old.rstrip()}{RUNTIME_VERSION}\n".encode(), 1)
        if name == "tvm/NOTICE":
            data += _NOTICE.encode()
        renamed[name.replace(f"apache_tvm-{version}.", f"apache_tvm-{version}{RUNTIME_VERSION}.", 1)] = data
    path = out / wheel.name.replace(f"-{version}-", f"-{version}{RUNTIME_VERSION}-", 1)
    write_wheel(path, renamed)
    return path


def _kept(name: str) -> bool:
    parts = name.split("/")
    if parts[0] != "tvm":
        return parts[0].endswith(".dist-info") and parts[-1] not in ("RECORD", "")
    if len(parts) == 2:
        return name.endswith((".py", "/LICENSE", "/NOTICE"))
    return bool(_TVM_LIBRARY.fullmatch(name)) or (parts[1] == "licenses" and parts[-1] != "") or (
        parts[1] in _TVM_KEPT and name.endswith(".py"))


def duomem_wheel(out: Path) -> Path:
    """Write duomem's own code, as it is installed here, into the folder `out` as a wheel; its path.

    The same code gives the same bytes.
    """
    distribution = importlib.metadata.distribution("duomem")
    files = {f"duomem/{name}": path.read_bytes() for name, path in own_files().items()}
    info = f"duomem-{distribution.version}.dist-info"
    metadata = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    texts = [Path(str(path.locate())) for path in distribution.files or () if path.parent.name == "licenses"]
    for path in texts or [Path(__file__).resolve().parents[1] / "LICENSE"]:  # in a checkout it stands at the top
        files[f"{info}/licenses/{path.name}"] = path.read_bytes()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: duomem\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    wheel = out / f"duomem-{distribution.version}-py3-none-any.whl"
    write_wheel(wheel, files)
    return wheel


def own_files() -> dict[str, Path]:
    """The files of duomem's import packages, by their path below `duomem`; other distributions' parts are left out."""
    found = {}
    root = Path(__file__).resolve().parents[1]
    for package in TOP_PACKAGES:
        for folder, folders, names in os.walk(root / package):
            folders[:] = sorted(name for name in folders if name != "__pycache__"
                                and not (Path(folder) / name / "pyproject.toml").exists())
            for name in sorted(names):
                path = Path(folder) / name
                if name.endswith(_SUFFIXES) or path.parent.name == "starters":
                    found[path.relative_to(root).as_posix()] = path
    return found


def write_wheel(path: Path, files: dict[str, bytes]) -> None:
    """Write `files` and their RECORD as a wheel to `path`: sorted, without dates, so that it depends on them alone."""
    info = next(name.split("/")[0] for name in files if name.endswith(".dist-info/WHEEL"))
    record = "".join(f"{name},sha256={_record_digest(files[name])},{len(files[name])}\n" for name in sorted(files))
    with atomic_open(path) as f, zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in (*sorted(files), f"{info}/RECORD"):
            data = files[name] if name in files else f"{record}{info}/RECORD,,\n".encode()
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)


def _record_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def licences(wheels: Iterable[Path]) -> list[tuple[str, str, str, Sequence[str]]]:
    """(name, version, licence, files with its text) of each wheel, sorted by name."""
    rows = []
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
            head = archive.read(metadata).decode("utf-8", "replace").split("\n\n", 1)[0]
        fields = dict(re.findall(r"^(Name|Version|License|License-Expression): *(\S.*)$", head, re.MULTILINE))
        named = re.findall(r"^Classifier: License :: (?:OSI Approved :: )?(.+)$", head, re.MULTILINE)
        licence = fields.get("License-Expression") or fields.get("License") or ", ".join(named) or "see its files"
        texts = sorted(name for name in names if re.search(r"(^|/)(LICEN[CS]E|NOTICE|COPYING)[^/]*$", name))
        rows.append((fields["Name"], fields["Version"], licence, texts))
    return sorted(rows)
