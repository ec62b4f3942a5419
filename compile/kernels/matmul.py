"""Which kernel multiplies by a stored matrix, for a CPU and a number of input rows."""

from __future__ import annotations

from typing import Any

from duomem.compile.kernels.amx import DEPTH, amx_matmul
from duomem.compile.kernels.dot import dot_matvec
from duomem.compile.kernels.fma import fma_matmul
from duomem.compile.kernels.int8 import int8_matmul
from duomem.compile.kernels.storage import Storage
from duomem.compile.kernels.tile import Cpu
from duomem.device.engine.schemes import EXACT, INT8


def matmul(
    storage: Storage, n: int, k: int, cpu: Cpu, one_row: bool, activations: str = EXACT, x_dtype: str = "float32"
) -> Any:
    """PrimFunc y[1, m, n] = x[1, m, k] @ W.T, float32, m dynamic; `one_row` when m is always 1.

    activations: "exact" or "int8", which rounds x where the weights are in groups and the CPU multiplies bytes.
    x_dtype: "float32", or what `attention_dtype` says.

    One row is bound by reading the weights and unpacking them, which 8-bit products do with the least work;
    products of AVX2's byte pairs overflow with 8-bit codes.
    """
    if activations == INT8 and rounds_input(storage, cpu):
        return int8_matmul(storage, n, k, cpu, one_row, x_dtype)
    if one_row and storage.grouped and cpu.dot and not (cpu.dot == "maddubs" and storage.bits == 8):
        return dot_matvec(storage, n, k, cpu)
    if cpu.matrix == "amx" and not one_row and k % DEPTH == 0:
        return amx_matmul(storage, n, k, cpu)
    return fma_matmul(storage, n, k, cpu, 1 if one_row else cpu.rows)


def rounds_input(storage: Storage, cpu: Cpu) -> bool:
    """Whether there is a kernel that takes 8-bit inputs: for weights in groups, on a CPU that multiplies bytes."""
    return storage.grouped and bool(cpu.dot)


def attention_dtype(storage: Storage, cpu: Cpu, activations: str) -> str:
    """The dtype of attention and its cache: float16 where inputs are rounded more coarsely anyway and the CPU
    converts it itself, else float32."""
    return "float16" if activations == INT8 and rounds_input(storage, cpu) and cpu.half else "float32"
