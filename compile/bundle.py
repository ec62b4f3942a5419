"""Writing a bundle: weights, library and tokenizer in a folder that exists only once it has passed the gate.

The same inputs are compiled once: bundle.json records their digest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from duomem.compile.gate.emulated import check_emulated
from duomem.compile.gate.gate import BOUND, INT8_BOUND, RoundingError, comparing, runnable_here
from duomem.compile.gate.success import HeldOutGames, measure_success
from duomem.compile.library.build import building, tool_versions
from duomem.compile.library.gpu_limits import check_gpu
from duomem.compile.library.target import Target, load_target
from duomem.compile.models.accounting import decoder_cost
from duomem.compile.weights.checkpoint import Checkpoint, model_id
from duomem.compile.weights.gptq import Calibration
from duomem.compile.weights.mlc_layout import write_chat_config, write_weights
from duomem.compile.weights.quantize import PackedTensor, check_scheme, store, store_quantized
from duomem.compile.weights.rounded import rounded_once
from duomem.core.claim import Claim, claimed
from duomem.core.cpu import cpu_arch
from duomem.core.errors import CompileError
from duomem.core.files import write_json
from duomem.core.package import own_digests
from duomem.core.progress import progress
from duomem.core.reading import digest_of
from duomem.device.agent.prompt import PROMPT_VERSION
from duomem.device.engine.bundle import Bundle, existing_bundle
from duomem.device.engine.gpu import has_gpu
from duomem.device.engine.manifest import (
    BUNDLE_FORMAT,
    BUNDLE_VERSION,
    FOLDERS,
    MANIFEST,
    check_manifest,
    list_files,
)
from duomem.device.engine.schemes import DEFAULT_SCHEME, EXACT, INT8, SCHEMES

PREFILL_CHUNK = 512
PAGE_SIZE = 16
"""Tokens a KV page; what the attention kernels are built for."""


def compile_bundle(
    model_dir: Path | str,
    target: Target | str,
    scheme: str,
    out: Path | str,
    context_length: int | None = None,
    calibration: Calibration | None = None,
    min_agreement: float | None = None,
    activations: str | None = None,
    held_out: HeldOutGames | None = None,
) -> tuple[Bundle, bool]:
    """Compile a model folder for a target into a bundle, and check it against the reference model.

    model_dir: Hugging Face folder with safetensors. target: a Target, or its name ("host").
    scheme: how weights are stored ("q4f32_1"; see device.engine.schemes.SCHEMES). out: folder to write.
    context_length: KV budget in tokens, by default the model's own but at most 4096.
    calibration: episodes to round the 4-bit weights on (see gptq); without it each matrix is rounded by itself, one
    in memory at a time. min_agreement: see gate.check_parity. activations: one of schemes.ACTIVATIONS; by default
    int8, or exact, and a line on stderr, if that fails the gate. held_out: games to play once the gate is passed; the
    manifest's `gate` then says how many were won, by the best library that runs here.

    A target without a CPU library for this machine is checked through proxy libraries (see _proxies) too, which do
    not go into the bundle, and where there is an emulator for it there (see emulated). The manifest's `gate` lists
    the libraries that ran nowhere as `unchecked`. A valid bundle of the same inputs in `out` is left alone.

    A bundle whose CPU libraries round their inputs is proved right by an exact library for this machine, which does not
    go into it either.

    Returns (bundle, whether it is new).
    Raises ConfigError for an unknown target; ModelError on a model folder that is incomplete or of an unknown kind;
    CompileError on a scheme, context or calibration that does not fit, or that a GPU's kernels do not compute, if
    `out` holds something else than a bundle, and if the compiler fails; GateError if the parity gate does.
    """
    model_dir, out = Path(model_dir), Path(out)
    target = load_target(target) if isinstance(target, str) else target
    checkpoint, length = check_inputs(model_dir, scheme, context_length, calibration)
    if kinds := {variant.gpu["kind"] for variant in target.variants if variant.gpu}:
        check_gpu(checkpoint.config, scheme, length, f"--target {target.name}", webgpu="webgpu" in kinds)
    record = calibration.record if calibration is not None else None
    played = held_out.record() if held_out is not None else None
    inputs = _inputs_digest(checkpoint, target, scheme, length, record, min_agreement, activations, played)

    def write(activations: str) -> tuple[Bundle, bool]:
        job = _Job(checkpoint, target, scheme, length, calibration, min_agreement, activations, held_out, inputs)
        return Bundle(out, _write(job, claim)), True

    with claimed(out) as claim:
        if (existing := existing_bundle(out, lambda manifest: manifest["inputs"] == inputs)) is not None:
            return existing, False
        if activations is not None:
            return write(activations)
        try:
            return write(INT8)
        except RoundingError as e:
            print(f"{e}; going on with that", file=sys.stderr)
        return write(EXACT)


@dataclass(frozen=True)
class _Job:
    """What a bundle is made from: the arguments of compile_bundle, read and checked. length: the KV budget, tokens.
    inputs: their digest."""

    checkpoint: Checkpoint
    target: Target
    scheme: str
    length: int
    calibration: Calibration | None
    min_agreement: float | None
    activations: str
    held_out: HeldOutGames | None
    inputs: str

    @property
    def chunk(self) -> int:
        """Most tokens a prefill call takes."""
        return min(PREFILL_CHUNK, self.length)


def _write(job: _Job, claim: Claim) -> dict[str, Any]:
    """Make the bundle in the claimed folder; its manifest. Raises RoundingError if exact activations may do better."""
    checkpoint, target, scheme, length = job.checkpoint, job.target, job.scheme, job.length
    on_cpu = any(variant.device == "cpu" for variant in target.variants)
    rounds = job.activations != EXACT and SCHEMES[scheme].is_quantized and on_cpu
    activations = job.activations if rounds else EXACT
    proxy = _proxy_target(target)
    with claim.folder() as work:
        for name in FOLDERS:
            (work / name).mkdir()
        with contextlib.ExitStack() as running:

            def start(target: Target, activations: str) -> Callable[[], list[dict[str, Any]]]:
                return running.enter_context(building(checkpoint, scheme, target, job.chunk, activations, work))

            finish = start(target, activations)
            finish_proxy = start(proxy, activations) if proxy is not None else list
            finish_proof = start(_proof_target(), EXACT) if rounds else list
            write_weights(packed_tensors(checkpoint, scheme, job.calibration), work / "model")
            write_chat_config(checkpoint, scheme, length, job.chunk, work / "model")
            judge = running.enter_context(comparing(checkpoint, work / "model", scheme, length))
            described = _describe(target, finish())
            own = described["libraries"] if target.arch == cpu_arch() else []
            manifest = _manifest(job, described)
            shown = _describe(proxy or target, [*own, *finish_proxy()])
            proof = finish_proof()
            manifest["files"] = list_files(work)
            if runnable_here(Bundle(work, {**manifest, "target": shown})):
                shown["libraries"] = [*shown["libraries"], *proof]
            checked = Bundle(work, {**manifest, "target": shown})
            gate = judge(checked, job.min_agreement)
        if job.held_out is not None:
            gate["success"] = measure_success(checked, runnable_here(checked)[0], job.held_out)
        emulated = check_emulated(Bundle(work, manifest), checked, BOUND, INT8_BOUND) if proxy is not None else {}
        files = {entry["file"]: entry["activations"] for entry in described["libraries"]}
        for file in set(manifest["files"]) - set(files):
            if file.startswith("lib/"):
                (work / file).unlink()
                del manifest["files"][file]
        exact, rounded = gate["libraries"], gate["int8"]["mean_kl"]
        for kind, ran, proxies in ((EXACT, exact, "proxy_libraries"), (INT8, rounded, "proxy_mean_kl")):
            gate[proxies] = {file: ran.pop(file) for file in [*ran] if file not in files}
            ran |= {file: far for file, far in emulated.items() if files[file] == kind}
        gate["unchecked"] = [f for f in files if f not in exact and f not in rounded]
        manifest["gate"] = gate
        write_json(work / MANIFEST, check_manifest(manifest, work / MANIFEST))
    return manifest


def _manifest(job: _Job, described: dict[str, Any]) -> dict[str, Any]:
    """bundle.json but for its `files` and `gate`; described: its `target`."""
    checkpoint = job.checkpoint
    kv_bytes = max(entry["kv_bytes"] for entry in described["libraries"])
    return {
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
        "quantization": job.scheme,
        "calibration": job.calibration.record if job.calibration is not None else None,
        "prompt_version": PROMPT_VERSION,
        "context": {
            "length": job.length,
            "prefill_chunk": job.chunk,
            "page_size": PAGE_SIZE,
            "kv_bytes_per_token": checkpoint.config.kv_values_per_token * kv_bytes,
        },
        "target": described,
        "cost": decoder_cost(checkpoint.config, job.scheme, kv_bytes).to_json(),
        "tools": tool_versions(job.target),
        "inputs": job.inputs,
    }


def _proxy_target(target: Target) -> Target | None:
    """Proxy libraries to check `target` with on this machine: the same weights and kernels, compiled for it.

    One for this CPU, which is fast enough to judge all recorded actions with, unless the target has one. And one for
    Vulkan, if the target has Vulkan libraries for another CPU family and this machine has a GPU, if only a software
    one.
    """
    here = target.arch == cpu_arch()
    devices = {variant.device for variant in target.variants}
    if here and "cpu" in devices:
        return None
    host = load_target("host")
    gpu = load_target("vulkan").variants if not here and "vulkan" in devices and has_gpu() else ()
    return dataclasses.replace(host, variants=(*host.variants, *gpu))


def _proof_target() -> Target:
    """The exact library for this machine that proves the model right."""
    host = load_target("host")
    return dataclasses.replace(host, variants=tuple(dataclasses.replace(v, name=EXACT) for v in host.variants))


def check_inputs(
    model_dir: Path, scheme: str, context_length: int | None, calibration: Calibration | None
) -> tuple[Checkpoint, int]:
    """The checkpoint, and the KV budget in tokens, of these arguments of `compile_bundle`. Raises CompileError."""
    checkpoint = Checkpoint(model_dir)
    if scheme not in SCHEMES:
        raise CompileError(f"--quant {scheme}: no such scheme: use one of {', '.join(SCHEMES)}")
    check_scheme(scheme, checkpoint.config, str(checkpoint.folder))
    if calibration is not None and not SCHEMES[scheme].is_quantized:
        raise CompileError(f"--calibrate: {scheme} rounds nothing: use --quant {DEFAULT_SCHEME}, or leave it out")
    longest = checkpoint.config.max_position_embeddings
    length = context_length if context_length is not None else min(4096, longest)
    if not 64 <= length <= longest:
        raise CompileError(f"--context {length}: this model takes 64..{longest} tokens")
    return checkpoint, length


def _describe(target: Target, libraries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": target.name, "device": target.device, "arch": target.arch, "libraries": libraries}


def packed_tensors(checkpoint: Checkpoint, scheme: str, calibration: Calibration | None) -> Iterator[PackedTensor]:
    """The model's tensors as `scheme` stores them, in MLC's names."""
    weights = list(checkpoint.config.weights())
    with rounded_once(checkpoint, calibration, scheme) if calibration else contextlib.nullcontext() as rounded:
        for weight in progress(weights, f"weights to {scheme}", unit="matrices"):
            if rounded is not None and weight.is_matrix:
                yield from store_quantized(weight, *rounded.read(weight.name), scheme)
            else:
                yield from store(weight, partial(checkpoint.blocks, weight), scheme)


def _inputs_digest(
    checkpoint: Checkpoint,
    target: Target,
    scheme: str,
    length: int,
    calibration: dict[str, Any] | None,
    min_agreement: float | None,
    activations: str | None,
    held_out: dict[str, Any] | None,
) -> str:
    return digest_of(
        {
            "model": checkpoint.digest,
            "target": dataclasses.asdict(target),
            "quantization": scheme,
            "calibration": calibration,
            "min_agreement": min_agreement,
            "activations": activations,
            "held_out": held_out,
            "context": length,
            "prompt_version": PROMPT_VERSION,
            "tools": tool_versions(target),
            "sources": own_digests("compile", "device/engine"),
        }
    )
