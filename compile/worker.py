"""The build process: `python -m duomem.compile.worker JOB.json`, model config in, shared library out.

It runs apart because the TVM compiler is 260 MB of C++ that may crash, and may take long.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import tvm
from tvm import relax, tirx

from duomem.base.files import write_json
from duomem.compile.kernels.tile import Tile, tile_for
from duomem.compile.models import FAMILIES

METADATA = "_metadata"


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Compile what `job` describes (see compile.build) to job["library"]; returns {"mcpu": ...}."""
    target = resolve_target(job["llvm"])
    family = FAMILIES[job["architecture"]]
    decoder = importlib.import_module(family.decoder)
    config = family.config(**job["config"])
    module, params = decoder.export(config, job["scheme"], cpu_tile(target), target)
    chunk = job["prefill_chunk"]
    for name, bound in {"prefill": chunk, "prefill_all": job["all_chunk"]}.items():
        module[name] = module[name].with_attr("tir_var_upper_bound", {"n": bound})
    module = with_metadata(module, params)
    with target, tvm.transform.PassContext(opt_level=3):
        executable = tvm.compile(module, target=target, relax_pipeline=pipeline(target))
    executable.export_library(job["library"])
    return {"mcpu": str(target.attrs.get("mcpu", ""))}


def resolve_target(options: dict[str, Any]) -> tvm.target.Target:
    """TVM's target for `options`, mcpu "native" replaced by this machine's."""
    options = dict(options)
    if options.get("mcpu") == "native":
        options["mcpu"] = str(tvm.get_global_func("target.llvm_get_system_cpu")())
    return tvm.target.Target(options)


def cpu_tile(target: tvm.target.Target) -> Tile:
    """The kernel tile for the vector registers of `target`."""
    has_feature = tvm.get_global_func("target.target_has_feature")
    if has_feature("avx512f", target):
        return tile_for(512, 32)
    if has_feature("avx", target):
        return tile_for(256, 16)
    if has_feature("neon", target):
        return tile_for(128, 32)
    return tile_for(128, 16)


def with_metadata(module: tvm.IRModule, params: list[tuple[str, Any]]) -> tvm.IRModule:
    """Add `_metadata() -> str`: JSON with the parameters' names, shapes and dtypes in calling order."""
    entries = [{"name": n, "shape": [int(d) for d in p.shape], "dtype": str(p.dtype)} for n, p in params]
    builder = relax.BlockBuilder(module)
    with builder.function(METADATA, params=[]):
        builder.emit_func_output(tvm.ir.StringImm(json.dumps({"params": entries})))
    return builder.get()


def pipeline(target: tvm.target.Target) -> tvm.transform.Pass:
    """Relax passes from the model to VM code."""
    t = relax.transform
    return tvm.transform.Sequential(
        [
            tirx.transform.BindTarget(target),
            t.LegalizeOps(),
            t.AnnotateTIROpPattern(),
            t.FoldConstant(),
            t.FuseOps(),
            t.FuseTIR(),
            t.DeadCodeElimination(),
            t.RewriteDataflowReshape(),
            t.ToNonDataflow(),
            t.RemovePurityChecking(),
            t.CallTIRRewrite(),
            t.StaticPlanBlockMemory(),
            t.LowerAllocTensor(),
            t.KillAfterLastUse(),
            t.LowerRuntimeBuiltin(),
            t.VMShapeLower(),
            t.AttachGlobalSymbol(),
        ]
    )


if __name__ == "__main__":
    path = Path(sys.argv[1])
    write_json(path.with_name("result.json"), build(json.loads(path.read_text())))
