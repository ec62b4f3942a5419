"""Bundles that are valid to the reader and hold no model: for tests of what copies, lists or checks files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from duomem.core.reading import sha256_bytes
from duomem.device.agent.prompt import PROMPT_VERSION
from duomem.device.engine.manifest import BUNDLE_FORMAT, BUNDLE_VERSION, check_manifest

LIBRARY = "lib/cpu.so"
FILES = {
    "model/mlc-chat-config.json": b"{}",
    "model/tensor-cache.json": b'{"records": []}',
    "model/tokenizer.json": b'{"version": "1.0"}',
    "model/params_shard_0.bin": bytes(range(256)) * 40,
    LIBRARY: b"\x7fELF library",
}


def write_bundle(folder: Path, files: dict[str, bytes] | None = None, **fields: Any) -> Path:
    """Write a bundle of FILES and `files`; fields: other values of the manifest. Returns `folder`."""
    contents = {**FILES, **(files or {})}
    for name in ("model", "lib", "packs"):
        (folder / name).mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    attention = {"layers": 2, "window": 0, "flops_per_pair": 4, "kv_bytes_per_token": 8}
    manifest: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "version": BUNDLE_VERSION,
        "model": {
            "id": "none",
            "digest": "0" * 64,
            "architecture": "LlamaForCausalLM",
            "config": {},
            "vocab_size": 300,
            "eos_token_ids": [2],
        },
        "quantization": "q4f32_1",
        "prompt_version": PROMPT_VERSION,
        "context": {"length": 256, "prefill_chunk": 64, "page_size": 16, "kv_bytes_per_token": 512},
        "target": {
            "name": "any",
            "device": "cpu",
            "arch": "x86_64",
            "libraries": [{"file": LIBRARY, "mcpu": "generic", "activations": "exact", "cpu_features": []}],
        },
        "cost": {"weight_bytes": 1, "layer_flops": 1, "head_flops": 1, "attention": [attention]},
        "tools": {},
        "inputs": "0" * 64,
        "gate": {"max_abs_diff": 0.0, "bound": 1.0},
        **fields,
        "files": {name: {"size": len(data), "sha256": sha256_bytes(data)} for name, data in contents.items()},
    }
    (folder / "bundle.json").write_text(json.dumps(check_manifest(manifest, folder / "bundle.json")))
    return folder
