"""Bundles someone tampered with. Nothing is compiled here: the reader never looks inside the files."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.core.reading import sha256_bytes
from duomem.device.engine.bundle import read_bundle

FILES = {
    "model/mlc-chat-config.json": b"{}",
    "model/tensor-cache.json": b'{"records": []}',
    "model/tokenizer.json": b"{}",
    "model/params_shard_0.bin": bytes(100),
    "lib/cpu-x86_64-avx512_vnni.so": b"\x7fELF",
    "lib/cpu-x86_64-avx2.so": b"\x7fELF",
}
MANIFEST: dict[str, Any] = {
    "format": "duomem-bundle",
    "version": 3,
    "model": {
        "id": "tiny",
        "digest": "0" * 64,
        "architecture": "LlamaForCausalLM",
        "config": {},
        "vocab_size": 300,
        "eos_token_ids": [2],
    },
    "quantization": "q4f32_1",
    "prompt_version": 1,
    "context": {"length": 256, "prefill_chunk": 64, "page_size": 16, "kv_bytes_per_token": 512},
    "target": {
        "name": "host",
        "device": "cpu",
        "arch": "x86_64",
        "libraries": [
            {
                "file": "lib/cpu-x86_64-avx512_vnni.so",
                "mcpu": "x86-64-v4",
                "activations": "exact",
                "cpu_features": ["avx2", "avx512_vnni"],
            },
            {"file": "lib/cpu-x86_64-avx2.so", "mcpu": "x86-64-v3", "activations": "exact", "cpu_features": ["avx2"]},
        ],
    },
    "cost": {
        "weight_bytes": 1,
        "layer_flops": 1,
        "head_flops": 1,
        "attention": [{"layers": 2, "window": 0, "flops_per_pair": 4, "kv_bytes_per_token": 8}],
    },
    "tools": {},
    "inputs": "0" * 64,
    "gate": {"max_abs_diff": 1e-5, "bound": 1e-3},
    "files": {name: {"size": len(data), "sha256": sha256_bytes(data)} for name, data in FILES.items()},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for name in ("model", "lib", "packs"):
        (folder / name).mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    (folder / "bundle.json").write_text(json.dumps(MANIFEST))
    return folder


def refused(folder: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_bundle(folder)
    assert "\n" not in str(error.value)


def test_a_whole_bundle_is_read(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert [library.file for library in read.libraries] == [name for name in FILES if name.startswith("lib/")]
    assert read.arch == "x86_64" and read.context_length == 256
    assert (read.vocab_size, read.prompt_version, read.eos_token_ids) == (300, 1, (2,))


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[-1] ^= 1
    (bundle / name).write_bytes(data)
    refused(bundle, f"{name}: its SHA-256")


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(FILES[name][:-1])
    refused(bundle, f"{name}: is {len(FILES[name]) - 1} bytes")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refused(bundle, f"{name}: is listed in bundle.json but missing")


@pytest.mark.parametrize("name", ["model/evil.py", "extra.txt", "packs/x.dmpack", "lib/other.so"])
def test_an_added_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    refused(bundle, f"{name}: is not listed")


def test_an_added_folder_is_found(bundle: Path) -> None:
    (bundle / "model" / "sub").mkdir()
    refused(bundle, "model/sub: is not listed")


def add_link(folder: Path) -> None:
    (folder / "model" / "params_shard_0.bin").rename(folder.parent / "elsewhere")
    (folder / "model" / "params_shard_0.bin").symlink_to(folder.parent / "elsewhere")


def link_folder(folder: Path) -> None:
    shutil.move(folder / "model", folder.parent / "model")
    (folder / "model").symlink_to(folder.parent / "model")


@pytest.mark.parametrize("change", [add_link, link_folder, lambda folder: os.mkfifo(folder / "model" / "pipe")])
def test_links_and_special_files_are_refused(bundle: Path, change: Callable[[Path], None]) -> None:
    change(bundle)
    refused(bundle, "is a link or special file")


def test_a_linked_manifest_is_refused(bundle: Path) -> None:
    (bundle / "bundle.json").rename(bundle.parent / "bundle.json")
    (bundle / "bundle.json").symlink_to(bundle.parent / "bundle.json")
    refused(bundle, "is a link")


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "model/../../evil",
        "/etc/passwd",
        "model//x",
        "model/.hidden",
        "model/",
        "model",
        "model\\x",
        "other/x",
        "model/a\0b",
        "model/" + "x" * 200,
        "bundle.json",
        "",
    ],
)
def test_paths_outside_the_folders_are_refused(bundle: Path, name: str) -> None:
    manifest = copy.deepcopy(MANIFEST)
    manifest["files"][name] = {"size": 0, "sha256": "0" * 64}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    refused(bundle, "is no path inside")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "zip"),
        ("version", 2),
        ("version", 4),
        ("version", True),
        ("version", "3"),
        ("quantization", "q9"),
        ("quantization", 4),
        ("prompt_version", "one"),
        ("prompt_version", -1),
        ("inputs", "x"),
        ("tools", []),
        ("model", None),
        ("model.vocab_size", 0),
        ("model.vocab_size", 1e9),
        ("model.eos_token_ids", [True]),
        ("model.digest", "0" * 63),
        ("context.length", -5),
        ("context.length", 1 << 60),
        ("context.page_size", None),
        ("target.arch", 64),
        ("target.libraries", {}),
        ("target.libraries", []),
        ("target.libraries", ["lib/cpu-x86_64-avx2.so"]),
        ("target.libraries", [{}]),
        ("target.libraries", [{"file": 3, "mcpu": "x", "activations": "exact", "cpu_features": []}]),
        (
            "target.libraries",
            [{"file": "model/tokenizer.json", "mcpu": "x", "activations": "exact", "cpu_features": []}],
        ),
        (
            "target.libraries",
            [{"file": "lib/cpu-x86_64-avx2.so", "mcpu": "", "activations": "exact", "cpu_features": []}],
        ),
        (
            "target.libraries",
            [{"file": "lib/cpu-x86_64-avx2.so", "mcpu": "x", "activations": "exact", "cpu_features": "avx2"}],
        ),
        (
            "target.libraries",
            [{"file": "lib/cpu-x86_64-avx2.so", "mcpu": "x", "activations": "exact", "cpu_features": [2]}],
        ),
        (
            "target.libraries",
            [{"file": "lib/cpu-x86_64-avx2.so", "mcpu": "x", "activations": "exact", "cpu_features": []}] * 33,
        ),
        ("model.config", []),
        ("cost", None),
        ("cost.weight_bytes", -1),
        ("cost.attention", []),
        ("gate", {}),
        ("gate.max_abs_diff", float("nan")),
        ("gate.bound", "1"),
        ("files", []),
        ("files", {}),
        ("files.model/tokenizer.json", "x"),
        ("files.model/tokenizer.json.size", -1),
        ("files.model/tokenizer.json.sha256", "Z" * 64),
    ],
)
def test_wrong_fields_are_named(bundle: Path, path: str, value: Any) -> None:
    manifest = copy.deepcopy(MANIFEST)
    keys = path.replace(".json", "~").split(".")
    where = manifest
    for key in keys[:-1]:
        where = where[key.replace("~", ".json")]
    where[keys[-1].replace("~", ".json")] = value
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    refused(bundle, f"field {path.split('.')[0]}")


def test_an_unlisted_library_is_refused(bundle: Path) -> None:
    manifest = copy.deepcopy(MANIFEST)
    manifest["target"]["libraries"][1]["file"] = "lib/../../evil.so"
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    refused(bundle, "field files does not list 'lib/../../evil.so'")


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", "[" * 100_000, "\xff", '{"format": "x"}'])
def test_manifests_that_are_none(bundle: Path, text: str) -> None:
    (bundle / "bundle.json").write_bytes(text.encode("latin-1"))
    refused(bundle, "bundle.json")


def test_a_pipe_as_manifest_is_refused_at_once(bundle: Path) -> None:
    (bundle / "bundle.json").unlink()
    os.mkfifo(bundle / "bundle.json")
    refused(bundle, "bundle.json: cannot read this bundle manifest: Not a regular file")


def test_a_link_switched_after_the_check_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    """As a deploy does to `current`."""
    current = tmp_path / "current"
    current.symlink_to(bundle)
    read = read_bundle(current)
    (tmp_path / "other").mkdir()
    current.unlink()
    current.symlink_to(tmp_path / "other")
    assert read.folder == bundle and read.tokenizer_file.read_bytes() == FILES["model/tokenizer.json"]


def test_no_bundle_at_all(tmp_path: Path) -> None:
    refused(tmp_path / "none", "no such bundle folder")
    refused(tmp_path, "no such bundle manifest")
