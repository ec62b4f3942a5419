"""Building a target's libraries, each in a process of its own, with a time limit.

A compiler that crashes, hangs or fails becomes one line that says so; nothing half-built is left.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from duomem.compile.library.target import Target
from duomem.compile.library.toolchains import nvcc
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import CompileError
from duomem.core.files import read_json, write_json
from duomem.core.process import start_step
from duomem.device.engine.bundle import ALL_CHUNK

TIME_LIMIT = 1800.0
_TOOLS = ("duomem", "apache-tvm", "apache-tvm-ffi", "numpy", "tokenizers", "torch", "transformers")
_WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from duomem.compile.library import worker; worker.run()"
"""tvm_ffi imports torch wherever it is installed: 2 s and 200 MB that a compiler has no use for."""
_WORKER = (sys.executable, "-c", _WITHOUT_TORCH)


@contextlib.contextmanager
def building(
    checkpoint: Checkpoint,
    scheme: str,
    target: Target,
    prefill_chunk: int,
    activations: str,
    folder: Path,
    time_limit: float = TIME_LIMIT,
    worker: tuple[str, ...] = _WORKER,
) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Start compiling the model's decoder for each variant of `target`, side by side, into folder/lib.

    What it gives waits for the end and returns bundle.json's `target.libraries`: [{file, device, mcpu, activations,
    kv_bytes, cpu_features}], best first; those for CUDA and Metal say what was found `inspected` in them. Leaving the
    `with` before that stops the compilers.
    prefill_chunk: most tokens a prefill call takes. activations: one of schemes.ACTIVATIONS. time_limit: seconds.
    Raises CompileError if there is nothing to compile CUDA or link with, and when a worker crashes, fails or runs out
    of time.
    """
    _check_tools(target)
    with tempfile.TemporaryDirectory(prefix="duomem-build-") as work, contextlib.ExitStack() as stack:
        running = []
        for variant in target.variants:
            job = Path(work) / variant.name / "job.json"
            job.parent.mkdir()
            library = folder / target.library(variant)
            write_json(
                job,
                {
                    "config": checkpoint.config.to_json(),
                    "scheme": scheme,
                    "activations": activations,
                    "llvm": variant.llvm,
                    "gpu": variant.gpu,
                    "link": target.link,
                    "prefill_chunk": prefill_chunk,
                    "all_chunk": min(ALL_CHUNK, prefill_chunk),
                    "library": str(library.resolve()),
                },
            )
            what = f"the TVM compiler, for {target.name} ({variant.name}),"
            process = stack.enter_context(start_step([*worker, str(job)], time_limit, what, CompileError))
            running.append((variant, library, job, what, process))

        def finish() -> list[dict[str, Any]]:
            libraries = []
            for variant, library, job, what, process in running:
                process.succeed(what, f"library {variant.name}", CompileError)
                if not library.is_file():
                    raise CompileError(f"{what} wrote no library")
                result = read_json(job.with_name("result.json"), "compiler result")
                libraries.append(
                    {
                        "file": target.library(variant),
                        "device": variant.device,
                        "mcpu": result["mcpu"],
                        "activations": result["activations"],
                        "kv_bytes": result["kv_bytes"],
                        "cpu_features": list(variant.cpu_features),
                        **({"inspected": result["inspected"]} if "inspected" in result else {}),
                    }
                )
            return libraries

        yield finish


def tool_versions(target: Target) -> dict[str, str]:
    """The version of everything whose change may change the bytes of a bundle for `target`, by name."""
    tools = (*_TOOLS, "ziglang") if target.link else _TOOLS
    versions = {name: importlib.metadata.version(name) for name in tools}
    compiler = nvcc.find_nvcc() if _has_cuda(target) else None
    return {**versions, "nvcc": nvcc.nvcc_version(compiler)} if compiler is not None else versions


def _has_cuda(target: Target) -> bool:
    return any(variant.gpu.get("kind") == "cuda" for variant in target.variants)


def _check_tools(target: Target) -> None:
    if _has_cuda(target) and (reason := nvcc.missing()):
        raise CompileError(f"--target {target.name}: {reason}")
    if target.link and importlib.util.find_spec("ziglang") is None:
        raise CompileError(f"--target {target.name}: nothing to link its libraries with: pip install ziglang")
    if not target.link and not any(shutil.which(name) for name in ("g++", "gcc", "clang++", "clang", "c++", "cc")):
        raise CompileError("no C compiler found to link the library with: install gcc or clang")
