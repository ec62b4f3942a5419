"""A device's wheels made small: TVM's runtime alone, and once what a package's wheels for several Pythons share.

Strong compression (LZMA, which Python's zipfile reads) makes a runtime for three Pythons smaller than PyPI's for one.
The installer unpacks them one over the other (device.install), which gives back every file as its authors made it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import BundleError
from duomem.core.files import atomic_open
from duomem.core.package import own_files
from duomem.core.reading import open_regular
from duomem.core.zip_member import ZipError, list_members, read_pieces

RUNTIME_VERSION = "+runtime"
"""Local version of the cut TVM wheel, so that nobody takes it for the whole one."""
SHARED = "+shared"
"""The same for a wheel of what a package's wheels for several Pythons share; pip refuses it, as it is not all of it."""
_TVM_KEPT = ("backend", "driver", "ir", "rpc", "runtime", "script", "support", "sym", "target", "te", "tirx")
"""Folders of TVM's Python that `import tvm` loads without the compiler library."""
_TVM_LIBRARY = re.compile(r"tvm/lib/libtvm_runtime(?:_(\w+))?\.(?:so|dylib)")
_NOTICE = """
This copy holds the runtime only. duomem removed the compiler library, the frontends, the headers and the
sources, and changed no file but the list of files and the version.
"""
_LICENCE_FILE = re.compile(r"(^|/)(LICEN[CS]E|NOTICE|COPYING)[^/]*$")
_MAX_UNPACKED = 4 << 30
_EPOCH = (1980, 1, 1, 0, 0, 0)


def repack(wheels: Collection[Path], out: Path, devices: Collection[str]) -> None:
    """Write `wheels`, one or more of each package, into the folder `out`, smaller.

    Of TVM's the part that the `devices` of a bundle need; of a package with wheels for several Pythons one with what
    they share and one with the rest for each. The same wheels give the same bytes.

    Raises BundleError if one is damaged.
    """
    if importlib.util.find_spec("_lzma") is None:
        raise BundleError(f"{sys.executable}: was built without lzma, which packs the wheels: use the system's Python")
    packages: dict[str, list[Path]] = {}
    for wheel in sorted(wheels):
        packages.setdefault(wheel.name.split("-")[0], []).append(wheel)
    for name, paths in packages.items():
        contents = {path: _contents(path) for path in paths}
        if name == "apache_tvm":
            for path in paths:
                _write_cut_tvm(path, contents[path], out, devices)
            continue
        shared = _shared(list(contents.values())) if len(paths) > 1 else {}
        if shared:
            name, version, _, _, platform = paths[0].name.split("-")
            _write_zip(out / f"{name}-{version}{SHARED}-py3-none-{platform}", shared)
        for path, files in contents.items():
            _write_zip(out / path.name, {name: data for name, data in files.items() if name not in shared})


def _contents(wheel: Path) -> dict[str, bytes]:
    try:
        with open_regular(wheel) as f:
            entries = [entry for entry in list_members(f) if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
                raise ZipError(f"it unpacks to more than {_MAX_UNPACKED >> 20} MiB")
            return {entry.filename: b"".join(read_pieces(f, entry)) for entry in entries}
    except (OSError, ZipError) as e:
        raise BundleError(f"{wheel}: is no wheel ({e}): remove it, it is fetched again") from None


def _shared(contents: Sequence[Mapping[str, bytes]]) -> dict[str, bytes]:
    first, *others = contents
    return {name: data for name, data in first.items() if all(files.get(name) == data for files in others)}


def _write_cut_tvm(wheel: Path, contents: Mapping[str, bytes], out: Path, devices: Collection[str]) -> None:
    files = {name: data for name, data in contents.items() if _kept(name, devices)}
    if not any(_TVM_LIBRARY.fullmatch(name) for name in files):
        raise BundleError(f"{wheel}: holds no libtvm_runtime: is this apache-tvm's wheel? remove it to fetch it again")
    version = wheel.name.split("-")[1]
    renamed = {}
    for name, data in files.items():
        if name.endswith(".dist-info/METADATA"):
            old = f"\nVersion: {version}\n"
            data = data.replace(old.encode(), f"{old.rstrip()}{RUNTIME_VERSION}\n".encode(), 1)
        if name == "tvm/NOTICE":
            data += _NOTICE.encode()
        renamed[name.replace(f"apache_tvm-{version}.", f"apache_tvm-{version}{RUNTIME_VERSION}.", 1)] = data
    write_wheel(out / wheel.name.replace(f"-{version}-", f"-{version}{RUNTIME_VERSION}-", 1), renamed)


def _kept(name: str, devices: Collection[str]) -> bool:
    """Whether a device with these devices' libraries needs this file of TVM's wheel; the CPU's are always needed."""
    parts = name.split("/")
    if parts[0] != "tvm":
        return parts[0].endswith(".dist-info") and parts[-1] != "RECORD"
    if len(parts) == 2:
        return name.endswith((".py", "/LICENSE", "/NOTICE"))
    if library := _TVM_LIBRARY.fullmatch(name):
        return library[1] in (None, "extra", *devices)
    return parts[1] == "licenses" or (parts[1] in _TVM_KEPT and name.endswith(".py"))


def duomem_wheel(out: Path) -> Path:
    """Write duomem's own code, as it is installed here, into the folder `out` as a wheel; its path.

    The same code gives the same bytes. It is what the installer comes out of, so any Python can read it.
    """
    distribution = importlib.metadata.distribution("duomem")
    files = {f"duomem/{name}": path.read_bytes() for name, path in own_files().items()}
    info = f"duomem-{distribution.version}.dist-info"
    metadata = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    texts = [Path(str(path.locate())) for path in distribution.files or () if path.parent.name == "licenses"]
    for path in texts:
        files[f"{info}/licenses/{path.name}"] = path.read_bytes()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: duomem\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    wheel = out / f"duomem-{distribution.version}-py3-none-any.whl"
    write_wheel(wheel, files, zipfile.ZIP_DEFLATED)
    return wheel


def write_wheel(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_LZMA) -> None:
    """Write `files` and their RECORD as a wheel to `path`. method: zipfile's number of the compression."""
    info = next(name.split("/")[0] for name in files if name.endswith(".dist-info/WHEEL"))
    record = "".join(f"{name},sha256={_record_digest(files[name])},{len(files[name])}\n" for name in sorted(files))
    _write_zip(path, {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}, method)


def _record_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_LZMA) -> None:
    """Sorted, without dates, so that it depends on `files` alone."""
    level = 9 if method == zipfile.ZIP_DEFLATED else None
    with atomic_open(path) as f, zipfile.ZipFile(f, "w", method, compresslevel=level) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = method
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])


@dataclass(frozen=True)
class Licence:
    """What a wheel says it is under. texts: the licence files in it, by their path there."""

    name: str
    version: str
    licence: str
    texts: Mapping[str, bytes]


def licences(wheels: Iterable[Path]) -> list[Licence]:
    """The licence of each package in `wheels`, sorted by name."""
    found: dict[str, Licence] = {}
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            metadata = next((name for name in names if name.endswith(".dist-info/METADATA")), None)
            if metadata is None:  # the part of one Python: its package's shared part says it
                continue
            head = archive.read(metadata).decode("utf-8", "replace").split("\n\n", 1)[0]
            texts = {name: archive.read(name) for name in names if _LICENCE_FILE.search(name)}
        fields = dict(re.findall(r"^(Name|Version|License|License-Expression): *(\S.*)$", head, re.MULTILINE))
        named = re.findall(r"^Classifier: License :: (?:OSI Approved :: )?(.+)$", head, re.MULTILINE)
        licence = fields.get("License-Expression") or fields.get("License") or ", ".join(named) or "see its files"
        found[fields["Name"]] = Licence(fields["Name"], fields["Version"], licence, texts)
    return [found[name] for name in sorted(found)]
