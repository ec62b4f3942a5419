from __future__ import annotations

import struct
from pathlib import Path

import pytest

from duomem.compile.library.toolchains.embedded import (
    DeviceModule,
    read_code,
    read_modules,
    repack,
    unpack,
    with_binary,
)
from duomem.compile.library.toolchains.fatbin import read_fatbin
from duomem.compile.library.toolchains.nvcc import check_fatbin
from duomem.core.errors import UserError

KERNELS = ("matvec_kernel", "norm_kernel")


def packed(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def kernel(name: str) -> bytes:
    arguments, tags, extra = b"\2\x20\1\0\0\x40\1\0", (b"blockIdx.x", b"threadIdx.x"), b"\0\0\0\0" * 2
    entry = packed(name.encode()) + struct.pack("<Q", 2) + arguments
    entry += struct.pack("<Q", 2) + b"".join(map(packed, tags)) + struct.pack("<Q", 2) + extra
    return packed(name.encode()) + entry


def cuda_module(form: str, code: bytes) -> DeviceModule:
    kernels = struct.pack("<Q", len(KERNELS)) + b"".join(map(kernel, KERNELS))
    return DeviceModule("cuda", packed(form.encode()) + kernels + packed(code))


def blob_of(*modules: DeviceModule) -> bytes:
    count = len(modules)
    body = struct.pack(f"<Q{count + 1}Q", count + 1, *range(count), count - 1)
    body += struct.pack(f"<Q{count - 1}Q", count - 1, *range(1, count))
    for module in modules:
        body += packed(module.kind.encode()) + (b"" if module.kind == "_lib" else packed(module.data))
    return struct.pack("<Q", len(body)) + body


MODULES = [DeviceModule("relax.VMExecutable", b"bytecode"), DeviceModule("_lib", b""), cuda_module("cuda", b"source")]
BLOB = blob_of(*MODULES)


def image(kind: int, arch: int, data: bytes) -> bytes:
    header = struct.pack("<HHIQ", kind, 0x101, 64, len(data)) + bytes(12) + struct.pack("<I", arch)
    return header.ljust(64, b"\0") + data


def cubin(*kernels: str) -> bytes:
    elf = bytearray(b"\x7fELF".ljust(64, b"\0"))
    struct.pack_into("<H", elf, 18, 190)
    return bytes(elf) + b"\0" + b"".join(b".text." + name.encode() + b"\0" for name in kernels)


def fatbin(*images: bytes) -> bytes:
    body = b"".join(images)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


SASS_87, SASS_110 = image(2, 87, cubin(*KERNELS)), image(2, 110, cubin(*KERNELS))


def test_modules_come_out_as_they_went_in() -> None:
    assert unpack(BLOB) == MODULES
    assert unpack(BLOB + b"what follows in the section") == MODULES
    code = read_code(MODULES[2])
    assert (code.format, code.kernels, code.code) == ("cuda", KERNELS, {"": b"source"})


def test_source_is_replaced_by_machine_code_and_nothing_else_changes() -> None:
    new = with_binary(MODULES[2], "fatbin", b"machine code, longer than before")
    code = read_code(new)
    assert (code.format, code.kernels, code.code) == ("fatbin", KERNELS, {"": b"machine code, longer than before"})
    assert repack(BLOB, [*MODULES[:2], new]) == blob_of(*MODULES[:2], new)
    assert repack(BLOB, MODULES) == BLOB
    with pytest.raises(ValueError, match="other kinds"):
        repack(BLOB, MODULES[:2])


@pytest.mark.parametrize("size", range(0, len(BLOB), 7))
def test_a_cut_blob_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        unpack(BLOB[:size])


@pytest.mark.parametrize("head", [b"", b"MZ", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"!<arch>\n"])
def test_no_library_of_tvm(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "x.so").write_bytes(head)
    with pytest.raises(ValueError, match=r"no device code|cut short"):
        read_modules(tmp_path / "x.so")


def test_machine_code_for_each_gpu_passes() -> None:
    data = fatbin(SASS_87, SASS_110)
    assert [(found.kind, found.arch) for found in read_fatbin(data)] == [("sass", "sm_87"), ("sass", "sm_110")]
    check_fatbin(data, ["sm_87", "sm_110"], KERNELS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'extern "C" __global__ void matvec_kernel() {}', "no CUDA fat binary"),
        (b".version 8.0\n.target sm_87\n", "no CUDA fat binary"),
        (b"", "cut short"),
        (fatbin(SASS_87, SASS_110)[:-1], "cut short"),
        (fatbin(image(1, 87, b".version 9.0"), image(1, 110, b".version 9.0")), "ptx for sm_87, ptx for sm_110"),
        (fatbin(SASS_87, SASS_110, image(1, 110, b".version 9.0")), "holds ptx for sm_110"),
        (fatbin(SASS_87), "is for sm_87, not for sm_87, sm_110"),
        (fatbin(SASS_87, SASS_87), "is for sm_87, sm_87, not"),
        (fatbin(), "is for none"),
        (fatbin(SASS_87, image(2, 110, cubin("matvec_kernel"))), "sm_110 has no kernel norm_kernel"),
        (fatbin(SASS_87, image(2, 110, b"compressed")), "sm_110 has no kernel matvec_kernel, norm_kernel"),
    ],
)
def test_what_a_device_would_have_to_compile_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_fatbin(data, ["sm_87", "sm_110"], KERNELS)
