"""The build process (see build): `run` with JOB.json on the command line, model config in, shared library out.

It runs apart because the TVM compiler is 260 MB of C++ that may crash, and may take long.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from duomem.compile.kernels.matmul import attention_dtype, rounds_input
from duomem.compile.kernels.storage import STORAGES
from duomem.compile.kernels.tile import cpu_of
from duomem.compile.library.target import LLVM_NAMES
from duomem.compile.library.toolchains.export import export, gpu_target
from duomem.compile.library.toolchains.link import ARCHIVE, INSPECTED, linker_for
from duomem.compile.models import decoder, gpu
from duomem.compile.models.config import DecoderConfig
from duomem.compile.models.exports import pipeline
from duomem.core.files import write_json
from duomem.device.engine.schemes import EXACT, SCHEMES

METADATA = "_metadata"
SYSTEM_LIB_PREFIX = "duomem_"
"""By which an app that has linked an archive in asks TVM's runtime for it."""


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Compile what `job` describes (see compile.library.build) to job["library"].

    Returns {"mcpu", "activations": as the kernels for this CPU and scheme take them, "kv_bytes": of an element of the
    cache}; for the kinds in INSPECTED also {"inspected": what was found in the library}.
    """
    target = resolve_target(job["llvm"])
    executable = compile_gpu_decoder(job, target) if job["gpu"] else compile_decoder(job, target)
    library, link = Path(job["library"]), job["link"]
    attributes: Any = target.attrs
    storage, cpu = STORAGES[SCHEMES[job["scheme"]].storage], cpu_of(target)
    rounds = not job["gpu"] and rounds_input(storage, cpu)
    cache = "float32" if job["gpu"] else attention_dtype(storage, cpu, job["activations"])
    result = {
        "mcpu": str(attributes.get("mcpu", "")) or "generic",
        "activations": job["activations"] if rounds else EXACT,
        "kv_bytes": np.dtype(cache).itemsize,
    }
    if job["gpu"].get("kind") in INSPECTED:
        result["inspected"] = export(executable, library, link, job["gpu"])
    else:
        executable.export_library(str(library), fcompile=linker_for(library, link) if link else None)
    return result


def compile_decoder(job: dict[str, Any], target: tvm.target.Target) -> tvm.runtime.Executable:
    """The decoder that `job` describes, compiled for the CPU `target`."""
    config = DecoderConfig(**job["config"])
    module, params = decoder.export(config, job["scheme"], cpu_of(target), job["activations"], target)
    return _compile(with_metadata(module, params, config), job, target, pipeline(target))


def compile_gpu_decoder(job: dict[str, Any], host: tvm.target.Target) -> tvm.runtime.Executable:
    """The decoder that `job` describes, its kernels compiled for job["gpu"], what calls them for `host`."""
    config = DecoderConfig(**job["config"])
    target = gpu_target(job["gpu"], host)
    module, params = gpu.export(config, target)
    if Path(job["library"]).suffix == ARCHIVE:
        module = module.with_attr("system_lib_prefix", SYSTEM_LIB_PREFIX)
    module = with_metadata(module, params, config, transposed=True)
    return _compile(module, job, target, pipeline(target, gpu.schedule()))


def _compile(
    module: tvm.IRModule, job: dict[str, Any], target: tvm.target.Target, passes: tvm.transform.Pass
) -> tvm.runtime.Executable:
    for name, bound in {"prefill": job["prefill_chunk"], "prefill_all": job["all_chunk"]}.items():
        module[name] = module[name].with_attr("tir_var_upper_bound", {"n": bound})
    with target, tvm.transform.PassContext(opt_level=3):
        return tvm.compile(module, target=target, relax_pipeline=passes)


def resolve_target(options: dict[str, Any]) -> tvm.target.Target:
    """TVM's target for `options`, mcpu "native" replaced by this machine's.

    LLVM goes by the CPU's model number, which a virtual machine may give wrongly or LLVM not know: the features
    are those the CPU itself reports, as far as they are of use to kernels.
    """
    options = dict(options)
    if options.get("mcpu") == "native":
        options["mcpu"] = str(tvm.get_global_func("target.llvm_get_system_cpu")())
        reported = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
        has = {str(name): bool(value) for name, value in reported.items()} if reported is not None else {}
        useful = set(LLVM_NAMES.values())
        options["mattr"] = sorted(
            ("+" if present else "-") + name for name, present in has.items() if name in useful or not present
        )
    return tvm.target.Target(options)


def with_metadata(
    module: tvm.IRModule, params: list[tuple[str, Any]], config: DecoderConfig, transposed: bool = False
) -> tvm.IRModule:
    """Add `_metadata() -> str`: JSON with the parameters' names, shapes and dtypes in calling order, and the
    names of the stored tensors that, stacked along their output rows, make each of them; `transposed`: whether
    matrices are taken with rows and columns exchanged.
    """
    entries = [
        {
            "name": name,
            "stored": config.stored_names(name),
            "shape": [int(n) for n in param.shape],
            "dtype": str(param.dtype),
        }
        for name, param in params
    ]
    builder = relax.BlockBuilder(module)
    with builder.function(METADATA, params=[]):
        builder.emit_func_output(tvm.ir.StringImm(json.dumps({"params": entries, "transposed": transposed})))
    return builder.get()


def run() -> None:
    """Do the job in the JOB.json of the command line and write result.json beside it.

    What fails ends the log and the process.
    """
    path = Path(sys.argv[1])
    try:
        write_json(path.with_name("result.json"), build(json.loads(path.read_text())))
    except Exception as e:
        traceback.print_exc()
        lines = [line.strip() for line in str(e).splitlines() if line.strip(" |^~-")] or ["no message"]
        reason = next((line for line in lines if "error:" in line.lower()), lines[-1])
        print(f"{type(e).__name__}: {reason}", file=sys.stderr, flush=True)
        os._exit(1)  # TVM's own exit would write warnings after the error
