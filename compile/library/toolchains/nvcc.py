"""NVIDIA's compiler: CUDA source to one fat binary with machine code for each GPU, no PTX.

TVM compiles CUDA itself only where a CUDA driver is installed; elsewhere it packs the source, which a device would
have to compile at each start. Here the source is taken out of what TVM packs, and the machine code put in.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from duomem.compile.library.toolchains.fatbin import read_fatbin
from duomem.core.errors import CompileError, UserError
from duomem.core.process import run, said_lines
from duomem.device.engine.cuda import MAJOR, find_nvcc

PACKAGES = "duomem[cuda]"
"""What pip installs the compiler with."""

_ARCH = re.compile(r"sm_[0-9]{2,3}[af]?")
_TIME_LIMIT = 900.0


def missing() -> str | None:
    """Why CUDA cannot be compiled on this machine, with the fix; None if it can."""
    if (nvcc := find_nvcc()) is None:
        return f"no nvcc: pip install {PACKAGES}, or set CUDA_HOME to a CUDA {MAJOR} toolkit"
    if shutil.which("g++") is None:
        return "nvcc needs g++: install it"
    try:
        version = nvcc_version(nvcc)
    except UserError as e:
        return str(e)
    if version.split(".")[0] != str(MAJOR):
        return f"{nvcc} is CUDA {version}, TVM's runtime needs {MAJOR}: pip install {PACKAGES}"
    return None


def nvcc_version(nvcc: Path) -> str:
    """Such as "13.0.88". Raises CompileError if it does not start or says something else."""
    found = re.search(r"\bV([0-9]+\.[0-9]+\.[0-9]+)", _run([str(nvcc), "--version"]))
    if found is None:
        raise CompileError(f"{nvcc}: does not tell its version: reinstall it")
    return found.group(1)


def compile_fatbin(source: str, archs: Sequence[str], kernels: Sequence[str]) -> bytes:
    """CUDA C++ `source` to a fat binary with machine code for each of `archs` ("sm_87"), and nothing else.

    kernels: the functions that must be in each. Division and square root are exact, as on the CPU.
    Raises CompileError if there is no nvcc, if it fails, or if what it made is not that.
    """
    if (reason := missing()) is not None:
        raise CompileError(reason)
    if not archs or (wrong := [arch for arch in archs if not _ARCH.fullmatch(arch)]):
        raise CompileError(f"archs: {', '.join(map(str, wrong)) if archs else 'none'}: give names like sm_87")
    with tempfile.TemporaryDirectory(prefix="duomem-nvcc-") as folder:
        path, out = Path(folder) / "kernels.cu", Path(folder) / "kernels.fatbin"
        path.write_text(source)
        command = [str(find_nvcc()), "--fatbin", "-O3", "--no-compress", "-std=c++17", "--expt-relaxed-constexpr"]
        command += [part for arch in archs for part in ("-gencode", f"arch=compute_{arch[3:]},code={arch}")]
        _run([*command, "-o", str(out), str(path)])
        binary = out.read_bytes()
    check_fatbin(binary, archs, kernels)
    return binary


def check_fatbin(binary: bytes, archs: Sequence[str], kernels: Sequence[str]) -> None:
    """Raises CompileError if `binary` is not machine code of all `kernels` for exactly `archs`."""
    try:
        images = read_fatbin(binary)
    except ValueError as e:
        raise CompileError(f"CUDA code: {e}: a device would have to compile it") from None
    if other := [f"{image.kind} for {image.arch}" for image in images if image.kind != "sass"]:
        raise CompileError(f"CUDA code: holds {', '.join(other)}, which a device would have to compile")
    if sorted(image.arch for image in images) != sorted(arch.rstrip("af") for arch in archs):
        found = ", ".join(image.arch for image in images) or "none"
        raise CompileError(f"CUDA code: is for {found}, not for {', '.join(archs)}")
    for image in images:
        if lost := [name for name in kernels if not image.has_kernel(name)]:
            raise CompileError(f"CUDA code: {image.arch} has no kernel {', '.join(lost[:3])}")


def _run(command: list[str]) -> str:
    done = run(command, _TIME_LIMIT)
    if done.status:
        lines = said_lines(done.output) + said_lines(done.error)
        reason = next((line for line in lines if "error" in line.lower()), done.last_line)
        raise CompileError(f"nvcc failed (exit {done.status}): {reason}")
    return done.output
