"""Libraries for GPUs this machine does not have: compiled, linked, and what is in them read. Nothing of it runs."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import pytest
import tvm
from tvm import te
from tvm.s_tir import dlight

from duomem.compile.library.build import building
from duomem.compile.library.target import Target, load_target, read_target
from duomem.compile.library.toolchains import nvcc
from duomem.compile.library.toolchains.embedded import HOST, read_code, read_modules
from duomem.compile.library.toolchains.export import check_library, export, gpu_target
from duomem.compile.library.toolchains.fatbin import read_fatbin
from duomem.compile.library.toolchains.link import linker
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.configs import target_files
from duomem.core.errors import UserError

NO_ZIG = importlib.util.find_spec("ziglang") is None
pytestmark = pytest.mark.skipif(NO_ZIG, reason="ziglang is not installed: pip install duomem[compile]")
needs_nvcc = pytest.mark.skipif(nvcc.missing() is not None, reason=nvcc.missing() or "")
EM = {"x86_64": 62, "aarch64": 183}
DYLIB, ARM64, CODE_SIGNATURE, BUILD_VERSION = 6, 0x0100000C, 0x1D, 0x32


def small_kernel(target: Target) -> tuple[Any, dict[str, Any]]:
    """(an executable with one kernel for the GPU of `target`, the target file's gpu table)."""
    variant = next(variant for variant in target.variants if variant.gpu)
    tvm_target = gpu_target(variant.gpu, variant.llvm)
    x = te.placeholder((4096,), "float32", "x")

    def double(i: Any) -> Any:
        return te.exp(x[i]) * 2.0

    function = te.create_prim_func([x, te.compute((4096,), double, "double")])
    with tvm_target:
        module = tvm.IRModule({"double": function.with_attr("global_symbol", "double")})
        module = dlight.ApplyDefaultSchedule(dlight.gpu.Fallback())(module)
        return tvm.compile(module, target=tvm_target), variant.gpu


def load_commands(data: bytes) -> dict[int, bytes]:
    at, found = 32, {}
    for _ in range(struct.unpack_from("<I", data, 16)[0]):
        command, size = struct.unpack_from("<II", data, at)
        found[command] = data[at : at + size]
        at += size
    return found


@needs_nvcc
@pytest.mark.parametrize("name", ["jetson", "cuda"])
def test_cuda_library_holds_machine_code_only(tmp_path: Path, name: str) -> None:
    target = load_target(name)
    executable, gpu = small_kernel(target)
    library = tmp_path / "kernel.so"
    assert export(executable, library, target.link, gpu) == f"1 kernels, machine code for {', '.join(gpu['archs'])}"
    (module,) = (module for module in read_modules(library) if module.kind == "cuda")
    code = read_code(module)
    assert (code.format, code.kernels) == ("fatbin", ("double_kernel",))
    assert [(image.kind, image.arch) for image in read_fatbin(code.code[""])] == [("sass", a) for a in gpu["archs"]]
    data = library.read_bytes()
    assert b"__global__" not in data and b".version" not in data
    assert (data[:4], struct.unpack_from("<H", data, 18)[0]) == (b"\x7fELF", EM[target.arch])


@pytest.mark.parametrize("name", ["jetson", "cuda"])
def test_a_library_with_cuda_source_fails_the_build(tmp_path: Path, name: str) -> None:
    target = load_target(name)
    executable, gpu = small_kernel(target)
    library = tmp_path / "kernel.so"
    executable.export_library(str(library), fcompile=linker(target.link))  # as TVM does it without a CUDA driver
    assert b"__global__" in library.read_bytes()
    with pytest.raises(UserError, match="a device would have to compile it"):
        check_library(library, gpu)


@needs_nvcc
def test_a_library_for_another_gpu_is_refused(tmp_path: Path) -> None:
    target = load_target("cuda")
    executable, gpu = small_kernel(target)
    export(executable, tmp_path / "kernel.so", target.link, gpu)
    with pytest.raises(UserError, match="is for sm_89, not for sm_90"):
        check_library(tmp_path / "kernel.so", {**gpu, "archs": ["sm_90"]})
    with pytest.raises(UserError, match="holds no metal code"):
        check_library(tmp_path / "kernel.so", {"kind": "metal"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('link = "x86_64-linux-gnu.2.28"\n', "", "link: needed for cuda"),
        ('archs = ["sm_89"]', "archs = []", "archs: none"),
        ('archs = ["sm_89"], ', "", "'archs'"),
        ('kind = "cuda", ', "", "'kind'"),
    ],
)
def test_a_cuda_target_file_with_a_field_missing(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = target_files()["cuda"].read_text()
    assert old in text
    (tmp_path / "cuda.toml").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=f"cuda.toml: not a target file .*{message}"):
        read_target(tmp_path / "cuda.toml")


def test_no_nvcc_is_said_before_anything_is_compiled(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: None)
    with (
        pytest.raises(UserError, match="--target jetson: no nvcc: pip install"),
        building(Checkpoint(tiny_model), "q4f32_1", load_target("jetson"), 64, "exact", tmp_path),
    ):
        pass


@pytest.mark.slow
def test_a_macs_decoders_are_signed_dylibs_one_with_metal_source(tmp_path: Path, tiny_model: Path) -> None:
    target = load_target("metal")
    assert load_target("macos").variants == target.variants[1:]
    (tmp_path / "lib").mkdir()
    with building(Checkpoint(tiny_model), "q4f32_1", target, 64, "exact", tmp_path) as finish:
        gpu, cpu = finish()
    assert (gpu["file"], gpu["device"]) == ("lib/metal-aarch64-macos.dylib", "metal")
    assert (cpu["file"], cpu["device"], cpu["mcpu"]) == ("lib/cpu-aarch64-m1.dylib", "cpu", "apple-m1")
    assert gpu["inspected"].endswith(" kernels, metal source") and "inspected" not in cpu
    for entry in (gpu, cpu):
        data = (tmp_path / entry["file"]).read_bytes()
        assert struct.unpack_from("<IIII", data) == (0xFEEDFACF, ARM64, 0, DYLIB)
        commands = load_commands(data)
        assert CODE_SIGNATURE in commands  # arm64 macOS loads nothing unsigned
        assert struct.unpack_from("<II", commands[BUILD_VERSION], 8) == (1, 13 << 16)  # macOS, 13.0
    modules = read_modules(tmp_path / cpu["file"])
    assert [module.kind for module in modules] == ["relax.VMExecutable", HOST]
    library = tmp_path / gpu["file"]
    kernels = check_library(library, target.variants[0].gpu)
    assert {"batch_decode_paged_kv_kernel", "batch_prefill_paged_kv_kernel"} <= set(kernels)
    (module,) = (module for module in read_modules(library) if module.kind == "metal")
    assert all(b"#include <metal_stdlib>" in code for code in read_code(module).code.values())


def test_ios_decoder_as_an_archive_of_a_system_library(tmp_path: Path, tiny_model: Path) -> None:
    target = load_target("ios")
    (tmp_path / "lib").mkdir()
    with building(Checkpoint(tiny_model), "q4f32_1", target, 64, "exact", tmp_path) as finish:
        (entry,) = finish()
    library = tmp_path / entry["file"]
    data = library.read_bytes()
    assert data.startswith(b"!<arch>\n") and library.suffix == ".a"
    assert data.count(struct.pack("<IIII", 0xFEEDFACF, ARM64, 0, 1)) == 2  # object files: host code, device code
    assert b"duomem___tvm_ffi__library_bin" in data
    assert all(name.startswith("duomem_") for name in check_library(library, target.variants[0].gpu))
