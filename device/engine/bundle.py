"""Reading a bundle: everything in its folder is checked against bundle.json before anything is used.

A bundle is a program. Its digests show damage and half-finished copies, not who made it: run one you trust.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from duomem.core.errors import BundleError, UserError
from duomem.core.files import read_json, sha256_file
from duomem.device.engine.manifest import FOLDERS, MANIFEST, MANIFEST_LIMIT, check_manifest
from duomem.device.engine.schemes import EXACT

ALL_CHUNK = 64
"""Most tokens whose logits a library gives at once (`prefill_all`)."""


@dataclass(frozen=True)
class Library:
    """A compiled library for one CPU variant, or for GPUs.

    file: its path inside the bundle. mcpu: what LLVM tuned it for. cpu_features: what a CPU must have to run it,
    as Linux names them (see core.cpu). device: where its kernels run, "cpu" or "vulkan". activations: how it takes the
    inputs of its products, one of schemes.ACTIVATIONS.
    """

    file: str
    mcpu: str
    cpu_features: frozenset[str]
    device: str = "cpu"
    activations: str = EXACT


@dataclass(frozen=True)
class Bundle:
    """A compiled student on disk.

    folder: where it lies. manifest: bundle.json as read; every path in its `files` exists below `folder` with the
    digest it names.
    """

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def load(cls, folder: Path | str) -> Bundle:
        """Read the bundle in `folder` and verify every file of it. Raises BundleError naming file, field and fix."""
        return read_bundle(folder)

    @property
    def model_dir(self) -> Path:
        return self.folder / "model"

    @property
    def tokenizer_file(self) -> Path:
        return self.folder / "model" / "tokenizer.json"

    @property
    def libraries(self) -> tuple[Library, ...]:
        """The compiled libraries of the bundle's target, best first."""
        return tuple(
            Library(
                entry["file"],
                entry["mcpu"],
                frozenset(entry["cpu_features"]),
                entry.get("device", "cpu"),
                entry["activations"],
            )
            for entry in self.manifest["target"]["libraries"]
        )

    @property
    def arch(self) -> str:
        """CPU architecture the libraries are for: "x86_64", "aarch64"."""
        return self.manifest["target"]["arch"]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices there are libraries for, the CPU last."""
        found = dict.fromkeys(library.device for library in self.libraries)
        return tuple(sorted(found, key="cpu".__eq__))

    def runnable(self, features: frozenset[str] | None, device: str = "cpu") -> tuple[Library, ...]:
        """The libraries for `device` that a CPU of this bundle's architecture with `features` can run, best first.

        features: as core.cpu.cpu_features gives them; where the system does not tell (None), it is the last
        library alone, which asks for the least.
        """
        libraries = tuple(library for library in self.libraries if library.device == device)
        if features is None:
            return libraries[-1:]
        return tuple(library for library in libraries if library.cpu_features <= features)

    def library_for(self, features: frozenset[str] | None, device: str = "cpu") -> Library:
        """The best library for `device` and a CPU with `features`; there is one for that device.

        Raises BundleError, saying what is missing, if this CPU can run none of them.
        """
        if chosen := self.runnable(features, device):
            return chosen[0]
        libraries = [library for library in self.libraries if library.device == device]
        least = min(libraries, key=lambda library: len(library.cpu_features - (features or frozenset())))
        missing = ", ".join(sorted(least.cpu_features - (features or frozenset())))
        raise BundleError(
            f"{self.folder}: needs a CPU with {missing}: compile it on this machine, or for a target with an older CPU"
        )

    @property
    def device(self) -> str:
        """The device to ask an engine for: the one there are libraries for, "auto" if there are several."""
        return self.devices[0] if len(self.devices) == 1 else "auto"

    @property
    def quantization(self) -> str:
        return self.manifest["quantization"]

    @property
    def vocab_size(self) -> int:
        return self.manifest["model"]["vocab_size"]

    @property
    def context_length(self) -> int:
        """KV budget: the most tokens one session may hold."""
        return self.manifest["context"]["length"]

    @property
    def prefill_chunk(self) -> int:
        """Most tokens the library takes in one prefill call."""
        return self.manifest["context"]["prefill_chunk"]

    @property
    def prompt_version(self) -> int | None:
        return self.manifest["prompt_version"]

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        return tuple(self.manifest["model"]["eos_token_ids"])


def read_bundle(folder: Path | str) -> Bundle:
    """Verify the bundle in `folder` and return it.

    A link on the way to it, as a device's `current`, is followed once: the returned bundle's folder is what was
    verified. Checks, in this order: bundle.json's schema, that the folder holds exactly the listed regular files
    (no links, nothing else), their sizes, their SHA-256. Raises BundleError naming file, field and fix.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle folder: give a folder made by duomem compile")
    path = folder / MANIFEST
    if path.is_symlink():
        raise BundleError(f"{path}: is a link: a bundle holds plain files only, copy it again")
    manifest = check_manifest(read_json(path, "bundle manifest", MANIFEST_LIMIT), path)
    _check_listing(folder, manifest["files"])
    for name, entry in manifest["files"].items():
        file = folder / name
        size = file.stat().st_size
        if size != entry["size"]:
            raise BundleError(f"{file}: is {size} bytes, bundle.json says {entry['size']}: copy the bundle again")
    for name, entry in manifest["files"].items():
        if sha256_file(folder / name) != entry["sha256"]:
            raise BundleError(f"{folder / name}: its SHA-256 is not the one in bundle.json: copy the bundle again")
    return Bundle(folder, manifest)


def existing_bundle(out: Path, is_current: Callable[[dict[str, Any]], bool]) -> Bundle | None:
    """The bundle in `out` if it is valid and its manifest current; BundleError if `out` is not a bundle at all."""
    if not out.exists():
        return None
    if not (out.is_dir() and (not any(out.iterdir()) or (out / MANIFEST).is_file())):
        raise BundleError(f"--out {out}: exists and is no bundle: give another folder, or remove it")
    try:
        bundle = read_bundle(out)
    except UserError:
        return None
    return bundle if is_current(bundle.manifest) else None


def _check_listing(folder: Path, files: dict[str, Any]) -> None:
    """The folder tree holds exactly `files`, bundle.json and directories that lead to them."""
    found = set()
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    stack = [folder]
    while stack:
        for item in os.scandir(stack.pop()):
            name = Path(item.path).relative_to(folder).as_posix()
            mode = item.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) and (name in folders or name in FOLDERS):
                stack.append(Path(item.path))
            elif stat.S_ISREG(mode) and (name in files or name == MANIFEST):
                found.add(name)
            elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                raise BundleError(f"{item.path}: is not listed in bundle.json: remove it or copy the bundle again")
            else:
                raise BundleError(f"{item.path}: is a link or special file: a bundle holds plain files only")
    for name in files:
        if name not in found:
            raise BundleError(f"{folder / name}: is listed in bundle.json but missing: copy the bundle again")
