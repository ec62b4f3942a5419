"""`duomem export mlc`: a folder that mlc-llm's command line and its Android and iOS apps take.

Weights and configuration only; `--device` also has an installed mlc_llm compile the model library.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from duomem.compile.bundle import PREFILL_CHUNK, check_inputs, packed_tensors
from duomem.compile.weights.checkpoint import model_id
from duomem.compile.weights.gptq import Calibration
from duomem.compile.weights.mlc_config import APPS, check_mlc, package_config
from duomem.compile.weights.mlc_layout import CHAT_CONFIG, write_chat_config, write_weights
from duomem.core.claim import claimed
from duomem.core.errors import CompileError, UserError
from duomem.core.files import read_json, sha256_file, write_json
from duomem.core.package import own_files
from duomem.core.process import run_step
from duomem.core.reading import digest_of
from duomem.device.engine.schemes import SCHEMES

MANIFEST = "duomem-mlc.json"

DEVICES = {
    "cpu": "so",
    "cuda": "so",
    "vulkan": "so",
    "opencl": "so",
    "metal": "so",
    "webgpu": "wasm",
    "android": "tar",
    "iphone": "tar",
}
"""What mlc_llm compiles for (its --device), and the suffix of its library."""

TIME_LIMIT = 3600.0
"""Seconds for mlc_llm."""

_MLC = (sys.executable, "-m", "mlc_llm")
_INSTALL = "https://llm.mlc.ai/docs/install/mlc_llm.html"
_VERSION = 1
_NOTES = {
    "gemma2": "\nmlc-llm computes Gemma 2 without the soft cap of the attention scores and keeps its context to the\n"
    "sliding window: it will not choose exactly as duomem does.\n"
}


def compile_mlc(
    model_dir: Path,
    scheme: str,
    out: Path,
    context_length: int | None = None,
    calibration: Calibration | None = None,
    device: str | None = None,
    command: tuple[str, ...] = _MLC,
    time_limit: float = TIME_LIMIT,
) -> bool:
    """Write the model in `model_dir` to the folder `out` in MLC's layout; whether it is new.

    scheme, context_length, calibration: as for compile.bundle.compile_bundle. device: one of DEVICES to have mlc_llm
    compile a library for, in lib/. command: what runs mlc_llm. time_limit: seconds for it. A complete folder of
    the same inputs is left alone. Raises CompileError on what does not fit, on a model mlc-llm does not compute,
    and if mlc_llm is not installed, fails, crashes or runs out of time.
    """
    checkpoint, length = check_inputs(model_dir, scheme, context_length, calibration)
    check_mlc(checkpoint, scheme)
    if device is not None:
        _check_device(device, command)
    chunk = min(PREFILL_CHUNK, length)
    name = f"{model_id(checkpoint.folder)}-{scheme}-MLC".replace("/", "-")
    inputs = digest_of(
        {
            "version": _VERSION,
            "model": checkpoint.digest,
            "scheme": scheme,
            "context": length,
            "calibration": calibration.record if calibration is not None else None,
            "device": device,
            "name": name,
            "sources": [
                sha256_file(path) for path in own_files("compile/export", "compile/weights", "device/engine").values()
            ],
        }
    )
    with claimed(out) as claim:
        if _is_made(out, inputs):
            return False
        with claim.folder() as work:
            (work / "model").mkdir()
            write_weights(packed_tensors(checkpoint, scheme, calibration), work / "model")
            write_chat_config(checkpoint, scheme, length, chunk, work / "model")
            weights = sum(file.stat().st_size for file in (work / "model").glob("params_shard_*.bin"))
            kv = checkpoint.config.kv_values_per_token * length * SCHEMES[scheme].value_bytes
            for app, app_device in APPS.items():
                (work / app).mkdir()
                package = package_config("../model", name, app_device, weights, kv, length)
                write_json(work / app / "mlc-package-config.json", package)
            if device is not None:
                _compile(work, device, command, time_limit)
            (work / "README.md").write_text(_readme(name, checkpoint.family.model_type, device), encoding="utf-8")
            files = {
                path.relative_to(work).as_posix(): sha256_file(path)
                for path in sorted(work.rglob("*"))
                if path.is_file()
            }
            write_json(work / MANIFEST, {"format": "duomem-mlc", "inputs": inputs, "files": files})
    return True


def library_name(device: str) -> str:
    """Where the library for `device` goes in the folder."""
    return f"lib/{device}.{DEVICES[device]}"


def _check_device(device: str, command: tuple[str, ...]) -> None:
    if device not in DEVICES:
        raise CompileError(f"--device {device}: mlc_llm has no such device: use one of {', '.join(DEVICES)}")
    if command == _MLC and (
        importlib.util.find_spec("mlc_llm") is None or importlib.util.find_spec("mlc_llm.__main__") is None
    ):
        raise CompileError(f"--device {device}: mlc_llm is not installed (PyPI has only a placeholder): see {_INSTALL}")


def _is_made(out: Path, inputs: str) -> bool:
    """Whether `out` is a complete folder of these inputs. Raises CompileError if it is something else altogether."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / MANIFEST).is_file():
        raise CompileError(f"--out {out}: exists and is no MLC folder of duomem's: give another folder, or remove it")
    try:
        found: Any = read_json(out / MANIFEST, "MLC folder's list")
    except UserError:
        return False
    if not isinstance(found, dict) or found.get("inputs") != inputs or not isinstance(found.get("files"), dict):
        return False
    return all((out / name).is_file() and sha256_file(out / name) == digest for name, digest in found["files"].items())


def _compile(work: Path, device: str, command: tuple[str, ...], time_limit: float) -> None:
    (work / "lib").mkdir()
    library = work / library_name(device)
    arguments = ["compile", str(work / "model" / CHAT_CONFIG), "--device", device, "--output", str(library)]
    run_step(
        [*command, *arguments],
        time_limit,
        f"mlc_llm, for {device},",
        f"mlc_llm compile {device}",
        CompileError,
    )
    if not library.is_file():
        raise CompileError(f"mlc_llm, for {device}, ended well but wrote no {library.name}: update mlc_llm")


def _readme(name: str, family: str, device: str | None) -> str:
    compiled = library_name(device) if device is not None else "lib/cuda.so"
    chat = f"mlc_llm chat ./model --model-lib ./{compiled}" if device is not None else "mlc_llm chat ./model"
    return f"""# {name}

Written by `duomem export mlc`. `model/` is in mlc-llm's own layout: quantized weights, tokenizer,
`mlc-chat-config.json`. mlc_llm: {_INSTALL}
{_NOTES.get(family, "")}
On this computer (the first command compiles for the device it finds):

    {chat}
    mlc_llm serve ./model

A library for one device, by your own command:

    mlc_llm compile ./model/{CHAT_CONFIG} --device cuda --output ./lib/cuda.so

Android (NDK, JDK and Rust as mlc-llm's guide says; MLC_LLM_SOURCE_DIR is a checkout of mlc-llm):

    cp android/mlc-package-config.json "$MLC_LLM_SOURCE_DIR/android/MLCChat/"
    cp -r model "$MLC_LLM_SOURCE_DIR/android/model"
    cd "$MLC_LLM_SOURCE_DIR/android/MLCChat" && mlc_llm package

then build the APK in Android Studio and push the weights: `python bundle_weight.py --apk-path APK`.

iOS (on a Mac with Xcode):

    cp ios/mlc-package-config.json "$MLC_LLM_SOURCE_DIR/ios/MLCChat/"
    cp -r model "$MLC_LLM_SOURCE_DIR/ios/model"
    cd "$MLC_LLM_SOURCE_DIR/ios/MLCChat" && mlc_llm package

then open MLCChat.xcodeproj and run it on the phone.
"""
