"""AArch64 code on this machine: qemu running the Python that scripts/aarch64_env.sh makes.

`run_kernel` takes one TIR function across: compiled and linked here, called there. Also a command:
python tests/emulator.py checks that the environment works.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PYTHON = Path(os.environ.get("DUOMEM_AARCH64_PYTHON", ROOT / "runs" / "aarch64" / "python"))
CPUS = {"neon": "cortex-a53", "dotprod": "cortex-a76", "i8mm": "max"}
"""For each AArch64 variant (configs/targets/aarch64.toml), qemu's CPU that has its features and no more of ours."""

_CALL = """
import sys
import numpy as np
import tvm
folder = sys.argv[1]
arrays = [np.load(f"{folder}/{i}.npy") for i in range(int(sys.argv[2]))]
module = tvm.runtime.load_module(f"{folder}/kernel.so")
tensors = [tvm.runtime.tensor(array, tvm.cpu()) for array in arrays]
module["kernel"](*tensors)
for i, tensor in enumerate(tensors):
    np.save(f"{folder}/{i}.npy", tensor.numpy())
"""


def missing() -> str | None:
    """Why AArch64 code cannot run here, None if it can."""
    return None if PYTHON.is_file() else f"no {PYTHON}: run scripts/aarch64_env.sh"


def run(cpu: str, *args: str, timeout: float = 600) -> str:
    """Output of the AArch64 Python with `args` on qemu's `cpu`; RuntimeError with its errors if it fails."""
    done = subprocess.run(
        [str(PYTHON), "-cpu", cpu, *args], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-4000:]}")
    return done.stdout


def variant_target(name: str, target: str = "aarch64") -> Any:
    """TVM's target of a variant of configs/targets."""
    from duomem.compile.library.target import load_target
    from duomem.compile.library.worker import resolve_target

    return resolve_target(next(v for v in load_target(target).variants if v.name == name).llvm)


def build_kernel(function: Any, variant: str, library: Path, target: str = "aarch64") -> None:
    """Compile a PrimFunc for a variant of a target into `library`, under the name "kernel"."""
    import tvm

    from duomem.compile.library.target import load_target
    from duomem.compile.library.toolchains.link import linker

    module = tvm.IRModule({"kernel": function.with_attr("global_symbol", "kernel")})
    built = tvm.compile(module, target=variant_target(variant, target))
    built.export_library(str(library), fcompile=linker(load_target(target).link))


def run_kernel(function: Any, arrays: list[np.ndarray], variant: str = "neon") -> list[np.ndarray]:
    """The arguments of a PrimFunc after calling it on AArch64 with `arrays` (outputs included, of their shape).

    variant: "neon", "dotprod" or "i8mm": what it is compiled for, and the CPU it runs on.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_kernel(function, variant, folder / "kernel.so")
        for i, array in enumerate(arrays):
            np.save(folder / f"{i}.npy", array)
        (folder / "call.py").write_text(_CALL)
        run(CPUS[variant], str(folder / "call.py"), name, str(len(arrays)))
        return [np.load(folder / f"{i}.npy") for i in range(len(arrays))]


if __name__ == "__main__":
    if why := missing():
        sys.exit(why)
    for cpu in CPUS.values():
        code = "from duomem.core import cpu; print(cpu.cpu_arch(), *sorted(cpu.cpu_features()))"
        print(f"{cpu}: {run(cpu, '-c', code).strip()}")
