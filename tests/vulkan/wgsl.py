"""Builds TVM "webgpu" modules by hand: the bytes that TVM's compiler writes, without the compiler."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import Any

import tvm_ffi

HANDLE, INT, FLOAT = (3, 64, 1), (0, 32, 1), (2, 32, 1)


@dataclass(frozen=True)
class Kernel:
    """One kernel: WGSL text, argument types, write flags of its buffers, thread axes given at launch."""

    name: str
    wgsl: str
    arguments: tuple[tuple[int, int, int], ...]
    writes: tuple[int, ...]
    axes: tuple[str, ...] = ("blockIdx.x",)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def module_bytes(*kernels: Kernel) -> bytes:
    """`[kernel table][source table]` of a webgpu module."""
    table, sources = struct.pack("<Q", len(kernels)), struct.pack("<Q", len(kernels))
    for kernel in kernels:
        tags = [*kernel.axes, "paramWriteAccess:[" + ",".join(map(str, kernel.writes)) + "]"]
        table += _text(kernel.name) + _text(kernel.name) + struct.pack("<Q", len(kernel.arguments))
        table += b"".join(struct.pack("<BBH", *argument) for argument in kernel.arguments)
        table += struct.pack("<Q", len(tags)) + b"".join(map(_text, tags)) + struct.pack("<Q", 0)
        sources += _text(kernel.name) + _text(kernel.wgsl)
    return table + sources


def load(*kernels: Kernel) -> Any:
    return load_bytes(module_bytes(*kernels))


def load_bytes(raw: bytes) -> Any:
    """A runnable module; raises ValueError for bytes that are not one."""
    return tvm_ffi.get_global_func("ffi.Module.load_from_bytes.webgpu")(raw)


def scale(element: str = "f32", threads: int = 64) -> Kernel:
    """y[i] = x[i] * factor + shift over the whole of y, laid out as TVM's code generator does it."""
    enable = "enable f16;\n" if element == "f16" else ""
    text = f"""{enable}@group(0) @binding(0) var<storage, read> x : array<{element}>;
@group(0) @binding(1) var<storage, read_write> y : array<{element}>;
struct PODArgs {{ factor: f32, shift: i32, packGridDimX: u32 }}
@group(0) @binding(2) var<uniform> podArgs : PODArgs;
@compute @workgroup_size({threads}, 1, 1)
fn scale(@builtin(workgroup_id) blockIdx : vec3<u32>, @builtin(num_workgroups) gridDim : vec3<u32>,
         @builtin(local_invocation_id) threadIdx : vec3<u32>) {{
  if (blockIdx.z * gridDim.x + blockIdx.x > podArgs.packGridDimX) {{ return; }}
  let i : u32 = (blockIdx.z * gridDim.x + blockIdx.x) * {threads}u + threadIdx.x;
  y[i] = {element}(f32(x[i]) * podArgs.factor + f32(podArgs.shift));
}}
"""
    return Kernel("scale", text, (HANDLE, HANDLE, FLOAT, INT), (0, 1))


def pointer(tensor: Any) -> Any:
    """The device pointer of a TVM tensor, as kernels take it."""
    return ctypes.c_void_p(tensor.data_ptr())
