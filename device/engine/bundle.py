"""Reading a bundle: everything in its folder is checked against bundle.json before anything is used.

The digests show damage and half-finished copies; who made a bundle is not something they can tell.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from duomem.core.errors import BundleError, UserError
from duomem.core.files import digest_of, read_json, sha256_file
from duomem.device.engine.cost import DecoderCost
from duomem.device.engine.schemes import SCHEMES

BUNDLE_FORMAT = "duomem-bundle"
BUNDLE_VERSION = 2
MANIFEST = "bundle.json"
FOLDERS = ("model", "lib", "packs")
ALL_CHUNK = 64
"""Most tokens whose logits a library gives at once (`prefill_all`)."""
KIT_FOLDERS = ("wheels", "games", "licenses")
KIT_FILES = ("install.sh", "play", "bench", "check", "README.md", "LICENSES.md")
"""What `duomem kit` adds for an offline install; only a manifest with a `kit` entry may list it."""
_REQUIRED = ("model/mlc-chat-config.json", "model/tensor-cache.json", "model/tokenizer.json")
_MANIFEST_LIMIT = 4 << 20
_MAX_FILES = 10_000
_MAX_LIBRARIES = 32
_LEAST_CHECKED = 4
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_WHEEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,190}\.whl")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMAKE = "make it again with duomem compile"


@dataclass(frozen=True)
class Library:
    """A compiled library for one CPU variant, or for GPUs.

    file: its path inside the bundle. mcpu: what LLVM tuned it for. cpu_features: what a CPU must have to run it,
    as Linux names them (see device.cpu). device: where its kernels run, "cpu" or "vulkan".
    """

    file: str
    mcpu: str
    cpu_features: frozenset[str]
    device: str = "cpu"


@dataclass(frozen=True)
class Bundle:
    """A compiled student on disk. Every path in `files` exists below `folder` with the digest it names."""

    folder: Path
    manifest: dict[str, Any]

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
            Library(entry["file"], entry["mcpu"], frozenset(entry["cpu_features"]), entry.get("device", "cpu"))
            for entry in self.manifest["target"]["libraries"]
        )

    @property
    def arch(self) -> str:
        """CPU family the libraries are for: "x86_64", "aarch64"."""
        return self.manifest["target"]["arch"]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices there are libraries for, the CPU last."""
        found = dict.fromkeys(library.device for library in self.libraries)
        return tuple(sorted(found, key="cpu".__eq__))

    def runnable(self, features: frozenset[str] | None, device: str = "cpu") -> tuple[Library, ...]:
        """The libraries for `device` that a CPU of this bundle's family with `features` can run, best first.

        features: as device.cpu.cpu_features gives them; where the system does not tell (None), it is the last
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


def read_bundle(folder: Path) -> Bundle:
    """Verify the bundle in `folder` and return it.

    Checks, in this order: bundle.json's schema, that the folder holds exactly the listed regular files
    (no links, nothing else), their sizes, their SHA-256. Raises BundleError naming file, field and fix.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle folder: give a folder made by duomem compile")
    path = folder / MANIFEST
    if path.is_symlink():
        raise BundleError(f"{path}: is a link: a bundle holds plain files only, copy it again")
    manifest = check_manifest(read_json(path, "bundle manifest", _MANIFEST_LIMIT), path)
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


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest's `files` of what is below `folder`: {path: {size in bytes, sha256}}, in order of path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in paths
    }


def existing_bundle(out: Path, is_current: Callable[[dict[str, Any]], bool]) -> Bundle | None:
    """The bundle in `out` if it is valid and its manifest current; UserError if `out` is not a bundle at all."""
    if not out.exists():
        return None
    if not (out.is_dir() and (not any(out.iterdir()) or (out / MANIFEST).is_file())):
        raise BundleError(f"--out {out}: exists and is no bundle: give another folder, or remove it")
    try:
        bundle = read_bundle(out)
    except UserError:
        return None
    return bundle if is_current(bundle.manifest) else None


def check_manifest(value: Any, where: Path) -> dict[str, Any]:
    """`value` if it is a bundle manifest of this version; a UserError naming `where` and the field if not."""
    fields = _Fields(where, value, "")
    if fields.text("format") != BUNDLE_FORMAT:
        raise BundleError(f"{where}: field format is not {BUNDLE_FORMAT!r}: give a folder made by duomem compile")
    version = fields.integer("version", 0)
    if version != BUNDLE_VERSION:
        raise BundleError(f"{where}: field version is {version}, this duomem reads {BUNDLE_VERSION}: {_REMAKE}")
    if fields.text("quantization") not in SCHEMES:
        raise BundleError(f"{where}: field quantization is not one of {', '.join(SCHEMES)}: {_REMAKE}")
    if value.get("prompt_version", 0) is not None:
        fields.integer("prompt_version", 0)
    fields.digest("inputs")
    fields.object("tools")
    model = fields.object("model")
    model.text("id")
    model.text("architecture")
    model.digest("digest")
    model.object("config")
    model.integer("vocab_size", 1)
    model.integers("eos_token_ids")
    context = fields.object("context")
    for name in ("length", "prefill_chunk", "page_size", "kv_bytes_per_token"):
        context.integer(name, 1)
    target = fields.object("target")
    target.text("name")
    target.text("device")
    target.text("arch")
    libraries = [entry.text("file") for entry in target.objects("libraries", _MAX_LIBRARIES)]
    for entry in target.objects("libraries", _MAX_LIBRARIES):
        if not entry.text("file").startswith("lib/"):
            entry.wrong("file", "a path inside lib")
        entry.text("mcpu")
        entry.texts("cpu_features")
        if "device" in entry.value:
            entry.text("device")
    DecoderCost.from_json(value.get("cost"), str(where))
    gate = fields.object("gate")
    gate.number("max_abs_diff")
    gate.number("bound")
    if "self_check" in gate.value:
        check = gate.object("self_check")
        for name in ("tokens", "ids"):
            if not all(i < model.value["vocab_size"] for i in check.integers(name)):
                check.wrong(name, "a list of this model's token ids")
        if len(check.reals("logits")) != len(check.value["ids"]) or len(check.value["tokens"]) < _LEAST_CHECKED:
            check.wrong("logits", f"one for each id, after at least {_LEAST_CHECKED} tokens")
    files = fields.object("files")
    if len(files.value) > _MAX_FILES:
        raise BundleError(f"{where}: field files lists more than {_MAX_FILES} files: not a bundle duomem wrote")
    if "kit" in value:
        _check_kit(fields.object("kit"), value)
    for name in files.value:
        _check_name(name, where, "kit" in value)
        entry = files.object(name)
        entry.integer("size", 0)
        entry.digest("sha256")
    for name in (*_REQUIRED, *libraries):
        if name not in files.value:
            raise BundleError(f"{where}: field files does not list {name!r}: {_REMAKE}")
    return value


def manifest_digest(manifest: dict[str, Any]) -> str:
    """SHA-256 over a manifest with a `kit` entry, but for the field kit.manifest that holds it."""
    kit = {name: value for name, value in manifest["kit"].items() if name != "manifest"}
    return digest_of({**manifest, "kit": kit})


def _check_kit(kit: _Fields, manifest: dict[str, Any]) -> None:
    for name in ("platform", "system", "machine"):
        kit.text(name)
    kit.texts("pythons")
    kit.digest("inputs")
    if kit.digest("manifest") != manifest_digest(manifest):
        raise BundleError(f"{kit.where}: is not as duomem kit wrote it: copy the bundle again")


def _check_name(name: str, where: Path, kit: bool) -> None:
    parts = name.split("/")
    folders = FOLDERS + KIT_FOLDERS if kit else FOLDERS
    if kit and name in KIT_FILES:
        return
    if kit and parts[0] == "wheels":
        plain = len(parts) == 2 and _WHEEL.fullmatch(parts[1]) is not None
    else:
        plain = len(parts) > 1 and parts[0] in folders and all(_PART.fullmatch(part) for part in parts)
    if not plain:
        raise BundleError(f"{where}: field files: {name[:200]!r} is no path inside {', '.join(folders)}: {_REMAKE}")


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


class _Fields:
    """Typed access to one JSON object of the manifest; every mismatch is a UserError naming the field."""

    def __init__(self, where: Path, value: Any, path: str) -> None:
        self.where, self.path = where, path
        if not isinstance(value, dict):
            self.wrong("", "an object")
        self.value: dict[str, Any] = value

    def wrong(self, name: str, kind: str) -> None:
        field = f"{self.path}{name}".rstrip(".") or "(top level)"
        raise BundleError(f"{self.where}: field {field} is missing or not {kind}: {_REMAKE}")

    def text(self, name: str) -> str:
        value = self.value.get(name)
        if not isinstance(value, str) or not value:
            self.wrong(name, "a text")
        return value  # type: ignore[return-value]

    def integer(self, name: str, least: int) -> int:
        value = self.value.get(name)
        if type(value) is not int or not least <= value < 1 << 53:
            self.wrong(name, f"an integer of at least {least}")
        return value  # type: ignore[return-value]

    def number(self, name: str) -> float:
        value = self.value.get(name)
        if type(value) not in (int, float) or not 0 <= value < float("inf"):  # type: ignore[operator]
            self.wrong(name, "a number of at least 0")
        return value  # type: ignore[return-value]

    def digest(self, name: str) -> str:
        value = self.value.get(name)
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            self.wrong(name, "a hex SHA-256")
        return value  # type: ignore[return-value]

    def texts(self, name: str) -> list[str]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(name, "a list of texts")
        return value  # type: ignore[return-value]

    def integers(self, name: str) -> list[int]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
            self.wrong(name, "a list of token ids")
        return value  # type: ignore[return-value]

    def reals(self, name: str) -> list[float]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(
            type(item) in (int, float) and abs(item) < float("inf") for item in value
        ):
            self.wrong(name, "a list of numbers")
        return value  # type: ignore[return-value]

    def objects(self, name: str, most: int) -> list[_Fields]:
        value = self.value.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            self.wrong(name, f"a list of 1 to {most} objects")
        return [_Fields(self.where, item, f"{self.path}{name}.{i}.") for i, item in enumerate(value)]  # type: ignore[arg-type]

    def object(self, name: str) -> _Fields:
        return _Fields(self.where, self.value.get(name), f"{self.path}{name}.")
