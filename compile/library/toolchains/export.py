"""From TVM's executable with GPU kernels to a library for a machine without TVM's compiler. Build process only.

CUDA: machine code packed in place of source. Metal: source, which macOS and iOS compile themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tvm

from duomem.compile.library.toolchains.embedded import SYMBOL, read_code, read_modules, repack, unpack, with_binary
from duomem.compile.library.toolchains.link import linker_for
from duomem.compile.library.toolchains.nvcc import check_fatbin, compile_fatbin
from duomem.core.errors import CompileError

_OWN_OPTIONS = ("archs",)


def gpu_target(gpu: dict[str, Any], host: Any) -> tvm.target.Target:
    """TVM's target for a target file's `gpu` table, with `host`, a target or its options, for what calls kernels.

    CUDA kernels are made once for all of `archs`, and may use what the first of them has.
    """
    options = {name: value for name, value in gpu.items() if name not in _OWN_OPTIONS}
    if gpu["kind"] == "cuda":
        options["arch"] = gpu["archs"][0]
        os.environ["TVM_COMPILE_FORCE_FALLBACK"] = "1"  # source, whatever CUDA this machine has
    return tvm.target.Target(options, host=host)


def export(executable: Any, library: Path, link: str, gpu: dict[str, Any]) -> str:
    """Write `executable` to `library` (.so, .dylib or .a), linked by zig for `link`; returns what is found in it.

    gpu: the target file's table. Raises CompileError if nvcc or zig fails, or if `library` holds CUDA code that a
    device would have to compile.
    """
    pack = _cuda_packer(gpu["archs"]) if gpu["kind"] == "cuda" else None
    executable.export_library(str(library), fcompile=linker_for(library, link), fpack_imports=pack)
    kernels = len(check_library(library, gpu))
    return f"{kernels} kernels, " + (f"machine code for {', '.join(gpu['archs'])}" if pack else f"{gpu['kind']} source")


def check_library(library: Path, gpu: dict[str, Any]) -> tuple[str, ...]:
    """The names of the kernels in `library`, which must be as the target file's table `gpu` asks. Or CompileError."""
    try:
        modules = [read_code(module) for module in read_modules(library) if module.kind == gpu["kind"]]
    except ValueError as e:
        raise CompileError(f"{library.name}: {e}") from None
    if not modules:
        raise CompileError(f"{library.name}: holds no {gpu['kind']} code")
    for module in modules:
        if gpu["kind"] == "cuda":
            check_fatbin(module.code[""], gpu["archs"], module.kernels)
        elif lost := [n for n in module.kernels if b"kernel void " + n.encode() not in module.code.get(n, b"")]:
            raise CompileError(f"{library.name}: no source of kernel {', '.join(lost[:3])}")
    return tuple(name for module in modules for name in module.kernels)


def _cuda_packer(archs: Sequence[str]) -> Callable[[Any, bool, str, str], str]:
    """What export_library calls to pack what the host code imports: TVM's bytes, with CUDA source made binary."""

    def pack(module: Any, is_system_lib: bool, prefix: str, folder: str) -> str:
        text = str(tvm.get_global_func("runtime.ModulePackImportsToC")(module, is_system_lib, prefix))
        modules = []
        blob = bytes(int(value, 16) for value in re.findall(r"0x([0-9a-fA-F]{1,2})\b", text))
        for part in unpack(blob):
            if part.kind == "cuda":
                code = read_code(part)
                if code.format != "cuda":
                    raise CompileError(f"TVM compiled CUDA by itself, to {code.format}: unset TVM_CUDA_COMPILE_MODE")
                part = with_binary(part, "fatbin", compile_fatbin(code.code[""].decode(), archs, code.kernels))
            modules.append(part)
        data, source = Path(folder) / "device.bin", Path(folder) / "device.s"
        data.write_bytes(repack(blob, modules))
        name = SYMBOL.decode()
        source.write_text(
            f'.section .rodata\n.globl {name}\n.balign 16\n{name}:\n.incbin "{data}"\n'
            '.section .note.GNU-stack,"",%progbits\n'
        )
        return str(source)

    return pack
