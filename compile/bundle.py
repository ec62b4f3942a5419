"""Writing a bundle: weights, library and tokenizer in a folder that exists only once it has passed the gate.

The same inputs are compiled once: bundle.json records their digest.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import atomic_folder, digest_of, sha256_file, write_json
from duomem.base.progress import progress
from duomem.compile.build import build_library
from duomem.compile.checkpoint import Checkpoint, model_id
from duomem.compile.gate import check_parity
from duomem.compile.gptq import Calibration, quantise_calibrated
from duomem.compile.mlc import write_chat_config, write_weights
from duomem.compile.quantise import Stored, check_scheme, store, store_int4
from duomem.compile.target import Target
from duomem.device.bundle import (
    BUNDLE_FORMAT,
    BUNDLE_VERSION,
    FOLDERS,
    MANIFEST,
    SCHEMES,
    Bundle,
    check_manifest,
    read_bundle,
)
from duomem.device.cpu import cpu_features
from duomem.device.prompt import PROMPT_VERSION

PREFILL_CHUNK = 512
PAGE_SIZE = 16
"""Tokens a KV page; what the attention kernels are built for."""

_TOOLS = ("duomem", "apache-tvm", "apache-tvm-ffi", "numpy", "tokenizers", "torch", "transformers")


def compile_bundle(
    model_dir: Path,
    target: Target,
    scheme: str,
    out: Path,
    context_length: int | None = None,
    calibration: Calibration | None = None,
) -> tuple[Bundle, bool]:
    """Compile the model in `model_dir` for `target` into the folder `out`; (bundle, whether it is new).

    scheme: "q0f32" or "q4f32_1". context_length: KV budget in tokens, by default the model's own but at
    most 4096. calibration: episodes to round the 4-bit weights on (see gptq); without it each matrix is
    rounded by itself, one in memory at a time. A valid bundle of the same inputs in `out` is left alone.
    Raises UserError on a model, scheme, context or calibration that does not fit, if `out` holds something
    else than a bundle, if the compiler fails, and if the parity gate does.
    """
    checkpoint = Checkpoint(model_dir)
    if scheme not in SCHEMES:
        raise UserError(f"--quant {scheme}: no such scheme: use one of {', '.join(SCHEMES)}")
    check_scheme(scheme, checkpoint.config, str(checkpoint.folder))
    if calibration is not None and scheme == "q0f32":
        raise UserError("--calibrate: q0f32 rounds nothing: use --quant q4f32_1, or leave it out")
    longest = checkpoint.config.max_position_embeddings
    length = context_length if context_length is not None else min(4096, longest)
    if not 64 <= length <= longest:
        raise UserError(f"--context {length}: this model takes 64..{longest} tokens")
    record = calibration.record if calibration is not None else None
    inputs = _inputs_digest(checkpoint, target, scheme, length, record)
    if (existing := _existing(out, inputs)) is not None:
        return existing, False
    chunk = min(PREFILL_CHUNK, length)
    with atomic_folder(out) as work:
        for name in FOLDERS:
            (work / name).mkdir()
        write_weights(_stored(checkpoint, scheme, calibration), work / "model")
        write_chat_config(checkpoint, scheme, length, chunk, work / "model")
        chosen = build_library(checkpoint, scheme, target, chunk, work / target.library)
        manifest: dict[str, Any] = {
            "format": BUNDLE_FORMAT,
            "version": BUNDLE_VERSION,
            "model": {
                "id": model_id(checkpoint.folder),
                "digest": checkpoint.digest,
                "architecture": checkpoint.architecture,
                "vocab_size": checkpoint.config.vocab_size,
                "eos_token_ids": list(checkpoint.config.eos_token_ids),
            },
            "quantisation": scheme,
            "calibration": record,
            "prompt_version": PROMPT_VERSION,
            "context": {
                "length": length,
                "prefill_chunk": chunk,
                "page_size": PAGE_SIZE,
                "kv_bytes_per_token": checkpoint.config.kv_bytes_per_token,
            },
            "target": {
                "name": target.name,
                "device": target.device,
                "arch": target.arch,
                "mcpu": chosen["mcpu"],
                "cpu_features": sorted(cpu_features() or ()) if target.native else [],
                "library": target.library,
            },
            "tools": _tool_versions(),
            "inputs": inputs,
            "files": _files(work),
        }
        manifest["gate"] = check_parity(Bundle(work, manifest), checkpoint)
        write_json(work / MANIFEST, check_manifest(manifest, work / MANIFEST))
    return Bundle(Path(out), manifest), True


def _stored(checkpoint: Checkpoint, scheme: str, calibration: Calibration | None) -> Iterator[Stored]:
    rounded = {} if calibration is None else quantise_calibrated(checkpoint, calibration)
    weights = list(checkpoint.config.weights())
    for weight in progress(weights, f"weights to {scheme}", unit="matrix"):
        if weight.name in rounded:
            yield from store_int4(weight, *rounded.pop(weight.name))
        else:
            yield from store(weight, checkpoint.matrix(weight), scheme)


def _existing(out: Path, inputs: str) -> Bundle | None:
    """The bundle in `out` if it is valid and of these inputs. UserError if `out` is not a bundle at all."""
    if not out.exists():
        return None
    if not (out.is_dir() and (not any(out.iterdir()) or (out / MANIFEST).is_file())):
        raise UserError(f"--out {out}: exists and is no bundle: give another folder, or remove it")
    try:
        bundle = read_bundle(out)
    except UserError:
        return None
    return bundle if bundle.manifest["inputs"] == inputs else None


def _inputs_digest(
    checkpoint: Checkpoint, target: Target, scheme: str, length: int, calibration: dict[str, Any] | None
) -> str:
    return digest_of(
        {
            "model": checkpoint.digest,
            "target": [target.name, target.device, target.arch, target.llvm],
            "cpu_features": sorted(cpu_features() or ()) if target.native else [],
            "quantisation": scheme,
            "calibration": calibration,
            "context": length,
            "prompt_version": PROMPT_VERSION,
            "tools": _tool_versions(),
            "sources": _source_digests(),
        }
    )


def _source_digests() -> dict[str, str]:
    """SHA-256 of the code that makes a bundle's bytes: a changed kernel is a changed bundle."""
    root = Path(__file__).resolve().parent.parent
    files = [
        *root.glob("compile/**/*.py"),
        *(root / "device" / f"{n}.py" for n in ("bundle", "engine", "weights")),
    ]
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(files)}


def _tool_versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _TOOLS}


def _files(work: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in work.rglob("*") if path.is_file())
    return {
        path.relative_to(work).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in paths
    }
