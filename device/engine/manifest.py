"""bundle.json: what a bundle's manifest must hold, checked field by field.

A manifest comes from outside: nothing in it is used before it has passed here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from duomem.core.errors import BundleError
from duomem.core.files import is_sha256, sha256_file
from duomem.core.reading import digest_of
from duomem.device.engine.cost import DecoderCost
from duomem.device.engine.schemes import ACTIVATIONS, SCHEMES

BUNDLE_FORMAT = "duomem-bundle"
BUNDLE_VERSION = 3
MANIFEST = "bundle.json"
FOLDERS = ("model", "lib", "packs")
KIT_FOLDERS = ("wheels", "games", "licenses")
KIT_FILES = ("install.sh", "play", "bench", "check", "serve", "README.md", "LICENSES.md")
"""What `duomem kit make` adds for an offline install; only a manifest with a `kit` entry may list it."""
_REQUIRED = ("model/mlc-chat-config.json", "model/tensor-cache.json", "model/tokenizer.json")
MANIFEST_LIMIT = 4 << 20
_MAX_FILES = 10_000
_MAX_LIBRARIES = 32
_LEAST_CHECKED = 4
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_WHEEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,190}\.whl")
_REMAKE = "make it again with duomem compile"


def check_manifest(value: Any, where: Path) -> dict[str, Any]:
    """`value` if it is a bundle manifest of this version; a BundleError naming `where` and the field if not."""
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
        if entry.text("activations") not in ACTIVATIONS:
            entry.wrong("activations", f"one of {', '.join(ACTIVATIONS)}")
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


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest's `files` of what is below `folder`: {path: {size in bytes, sha256}}, in order of path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in paths
    }


class _Fields:
    """Typed access to one JSON object of the manifest; every mismatch is a BundleError naming the field."""

    def __init__(self, where: Path, value: Any, path: str) -> None:
        self.where, self.path = where, path
        if not isinstance(value, dict):
            self.wrong("", "an object")
        self.value: dict[str, Any] = value

    def wrong(self, name: str, kind: str) -> NoReturn:
        field = f"{self.path}{name}".rstrip(".") or "(top level)"
        raise BundleError(f"{self.where}: field {field} is missing or not {kind}: {_REMAKE}")

    def text(self, name: str) -> str:
        value = self.value.get(name)
        if not isinstance(value, str) or not value:
            self.wrong(name, "a text")
        return value

    def integer(self, name: str, least: int) -> int:
        value = self.value.get(name)
        if type(value) is not int or not least <= value < 1 << 53:
            self.wrong(name, f"an integer of at least {least}")
        return value

    def number(self, name: str) -> float:
        value = self.value.get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < float("inf"):
            self.wrong(name, "a number of at least 0")
        return value

    def digest(self, name: str) -> str:
        value = self.value.get(name)
        if not is_sha256(value):
            self.wrong(name, "a hex SHA-256")
        return value

    def texts(self, name: str) -> list[str]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(name, "a list of texts")
        return value

    def integers(self, name: str) -> list[int]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
            self.wrong(name, "a list of token ids")
        return value

    def reals(self, name: str) -> list[float]:
        value = self.value.get(name)
        if not isinstance(value, list) or not all(
            type(item) in (int, float) and abs(item) < float("inf") for item in value
        ):
            self.wrong(name, "a list of numbers")
        return value

    def objects(self, name: str, most: int) -> list[_Fields]:
        value = self.value.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            self.wrong(name, f"a list of 1 to {most} objects")
        return [_Fields(self.where, item, f"{self.path}{name}.{i}.") for i, item in enumerate(value)]

    def object(self, name: str) -> _Fields:
        return _Fields(self.where, self.value.get(name), f"{self.path}{name}.")
