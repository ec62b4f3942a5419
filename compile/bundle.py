"""Writing a bundle: weights, library and tokenizer in a folder that exists only once it has passed the gate.

The same inputs are compiled once: bundle.json records their digest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from duomem.core.errors import UserError
from duomem.core.files import atomic_folder, digest_of, sha256_file, write_json
from duomem.core.progress import progress
from duomem.compile.library.build import building
from duomem.compile.weights.checkpoint import Checkpoint, model_id
from duomem.compile.gate.emulated import check_emulated
from duomem.compile.gate.gate import BOUND, comparing
from duomem.compile.weights.gptq import Calibration, quantise_calibrated
from duomem.compile.library.gpu_limits import check_gpu
from duomem.compile.weights.mlc_layout import write_chat_config, write_weights
from duomem.compile.models.accounting import work as work_of
from duomem.compile.weights.quantize import SCHEMES as FORMATS
from duomem.compile.weights.quantize import Stored, check_scheme, store, store_quantised
from duomem.compile.library.target import Target, load_target
from duomem.compile.library.toolchains import nvcc
from duomem.device.engine.gpu import has_adapter
from duomem.device.engine.bundle import (
    BUNDLE_FORMAT,
    BUNDLE_VERSION,
    FOLDERS,
    MANIFEST,
    SCHEMES,
    Bundle,
    check_manifest,
    existing_bundle,
    list_files,
)
from duomem.core.cpu import cpu_arch
from duomem.device.agent.prompt import PROMPT_VERSION

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
    min_agreement: float | None = None,
) -> tuple[Bundle, bool]:
    """Compile the model in `model_dir` for `target` into the folder `out`; (bundle, whether it is new).

    scheme: one of device.bundle.SCHEMES. context_length: KV budget in tokens, by default the model's own but at
    most 4096. calibration: episodes to round the 4-bit weights on (see gptq); without it each matrix is
    rounded by itself, one in memory at a time. min_agreement: see gate.check_parity. A target without a CPU library
    for this machine is checked through stand-ins (see _stand_ins) too, which do not go into the bundle, and where
    there is an emulator for it there (see emulated). `gate` lists the libraries that ran nowhere as `unchecked`. A
    valid bundle of the same inputs in `out` is left alone.
    Raises UserError on a model, scheme, context or calibration that does not fit, or that a GPU's kernels do not
    compute, if `out` holds something else than a bundle, if the compiler fails, and if the parity gate does.
    """
    checkpoint, length = check_inputs(model_dir, scheme, context_length, calibration)
    if kinds := {baseline.gpu["kind"] for baseline in target.baselines if baseline.gpu}:
        check_gpu(checkpoint.config, scheme, length, f"--target {target.name}", webgpu="webgpu" in kinds)
    record = calibration.record if calibration is not None else None
    inputs = _inputs_digest(checkpoint, target, scheme, length, record, min_agreement)
    if (existing := existing_bundle(out, lambda manifest: manifest["inputs"] == inputs)) is not None:
        return existing, False
    chunk = min(PREFILL_CHUNK, length)
    stand_in = _stand_ins(target)
    with atomic_folder(out) as work:
        for name in FOLDERS:
            (work / name).mkdir()
        with contextlib.ExitStack() as running:
            finish = running.enter_context(building(checkpoint, scheme, target, chunk, work))
            if stand_in is not None:
                finish_stand_in = running.enter_context(building(checkpoint, scheme, stand_in, chunk, work))
            write_weights(stored_tensors(checkpoint, scheme, calibration), work / "model")
            write_chat_config(checkpoint, scheme, length, chunk, work / "model")
            judge = running.enter_context(comparing(checkpoint, work / "model", scheme, length))
            described = _describe(target, finish())
            runs_here = described
            if stand_in is not None:
                own = described["libraries"] if target.arch == cpu_arch() else []
                runs_here = _describe(stand_in, [*own, *finish_stand_in()])
            manifest: dict[str, Any] = {
                "format": BUNDLE_FORMAT,
                "version": BUNDLE_VERSION,
                "model": {
                    "id": model_id(checkpoint.folder),
                    "digest": checkpoint.digest,
                    "architecture": checkpoint.architecture,
                    "config": checkpoint.config.to_json(),
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
                "target": described,
                "work": work_of(checkpoint.config, scheme).to_json(),
                "tools": _tool_versions(target),
                "inputs": inputs,
            }
            manifest["files"] = list_files(work)
            checked = Bundle(work, {**manifest, "target": runs_here})
            gate = judge(checked, min_agreement)
        files = [entry["file"] for entry in described["libraries"]]
        if stand_in is not None:
            ran = gate["libraries"]
            gate["libraries"] = {file: ran[file] for file in files if file in ran}
            gate["stand_ins"] = {file: ran[file] for file in ran if file not in files}
            gate["libraries"] |= check_emulated(Bundle(work, manifest), checked, BOUND)
            for file in {library.file for library in checked.libraries} - set(files):
                (work / file).unlink()
                del manifest["files"][file]
        gate["unchecked"] = [file for file in files if file not in gate["libraries"]]
        manifest["gate"] = gate
        write_json(work / MANIFEST, check_manifest(manifest, work / MANIFEST))
    return Bundle(Path(out), manifest), True


def _stand_ins(target: Target) -> Target | None:
    """What else is compiled, of the same weights and kernels, to check `target` with on this machine.

    A library for this CPU, which is fast enough to judge all recorded actions with, unless the target has one; and
    one for Vulkan where the target has such for another CPU family and an adapter, if only a software one, is here.
    """
    here = target.arch == cpu_arch()
    devices = {baseline.device for baseline in target.baselines}
    if here and "cpu" in devices:
        return None
    host = load_target("host")
    gpu = load_target("vulkan").baselines if not here and "vulkan" in devices and has_adapter() else ()
    return dataclasses.replace(host, baselines=(*host.baselines, *gpu))


def check_inputs(
    model_dir: Path, scheme: str, context_length: int | None, calibration: Calibration | None
) -> tuple[Checkpoint, int]:
    """The checkpoint, and the KV budget in tokens, of these arguments of `compile_bundle`. Raises UserError."""
    checkpoint = Checkpoint(model_dir)
    if scheme not in SCHEMES:
        raise UserError(f"--quant {scheme}: no such scheme: use one of {', '.join(SCHEMES)}")
    check_scheme(scheme, checkpoint.config, str(checkpoint.folder))
    if calibration is not None and not FORMATS[scheme].bits:
        raise UserError(f"--calibrate: {scheme} rounds nothing: use --quant q4f32_1, or leave it out")
    longest = checkpoint.config.max_position_embeddings
    length = context_length if context_length is not None else min(4096, longest)
    if not 64 <= length <= longest:
        raise UserError(f"--context {length}: this model takes 64..{longest} tokens")
    return checkpoint, length


def _describe(target: Target, libraries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": target.name, "device": target.device, "arch": target.arch, "libraries": libraries}


def stored_tensors(checkpoint: Checkpoint, scheme: str, calibration: Calibration | None) -> Iterator[Stored]:
    """The model's tensors as `scheme` stores them, in MLC's names."""
    rounded = {} if calibration is None else quantise_calibrated(checkpoint, calibration, scheme)
    weights = list(checkpoint.config.weights())
    for weight in progress(weights, f"weights to {scheme}", unit="matrix"):
        if weight.name in rounded:
            yield from store_quantised(weight, *rounded.pop(weight.name), scheme)
        else:
            yield from store(weight, partial(checkpoint.blocks, weight), scheme)


def _inputs_digest(
    checkpoint: Checkpoint,
    target: Target,
    scheme: str,
    length: int,
    calibration: dict[str, Any] | None,
    min_agreement: float | None,
) -> str:
    return digest_of(
        {
            "model": checkpoint.digest,
            "target": dataclasses.asdict(target),
            "quantisation": scheme,
            "calibration": calibration,
            "min_agreement": min_agreement,
            "context": length,
            "prompt_version": PROMPT_VERSION,
            "tools": _tool_versions(target),
            "sources": _source_digests(),
        }
    )


def _source_digests() -> dict[str, str]:
    """SHA-256 of the code that makes a bundle's bytes: a changed kernel is a changed bundle."""
    root = Path(__file__).resolve().parent.parent
    files = [
        *root.glob("compile/**/*.py"),
        *root.glob("compile/probes/*.jsonl"),
        *(root / "device" / f"{n}.py" for n in ("adapter", "bundle", "engine", "weights", "bench/work")),
    ]
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(files)}


def _tool_versions(target: Target) -> dict[str, str]:
    tools = (*_TOOLS, "ziglang") if target.link else _TOOLS
    versions = {name: importlib.metadata.version(name) for name in tools}
    compiler = nvcc.find_nvcc() if any(b.gpu.get("kind") == "cuda" for b in target.baselines) else None
    return {**versions, "nvcc": nvcc.nvcc_version(compiler)} if compiler is not None else versions
