"""RMS norm, alone and with the residual addition, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm.script import tirx as T  # noqa: E402

from duomem.compile.kernels.norm import rms_norm  # noqa: E402

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": str(tvm.get_global_func("target.llvm_get_system_cpu")())})


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("rows", "size", "loop"), [(1, 576, T.serial), (7, 576, T.parallel), (3, 50, T.parallel)])
def test_norm(rows: int, size: int, loop: Any, add: bool) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1, rows, size)).astype(np.float32) * 3 for _ in range(1 + add)]
    weight = rng.standard_normal(size).astype(np.float32)
    total = sum(x.astype(np.float64) for x in inputs)
    epsilon = 1e-2
    expected = total / np.sqrt((total**2).mean(-1, keepdims=True) + epsilon) * weight
    module = tvm.IRModule({"main": rms_norm(size, epsilon, add, loop).with_attr("global_symbol", "main")})
    with TARGET:
        kernel = tvm.compile(module, target=TARGET)["main"]
    outputs = [tvm.runtime.tensor(np.zeros((1, rows, size), np.float32)) for _ in range(1 + add)]
    kernel(*(tvm.runtime.tensor(x) for x in (*inputs, weight)), *outputs)
    np.testing.assert_allclose(outputs[0].numpy(), expected, atol=3e-6)
    if add:
        np.testing.assert_allclose(outputs[1].numpy(), total, atol=1e-6)


def test_scratch_is_on_the_stack() -> None:
    """Scratch of the scope `local` would be taken from the heap for each row."""
    with TARGET:
        module: Any = tvm.compile(
            tvm.IRModule({"main": rms_norm(576, 1e-5, True, T.serial).with_attr("global_symbol", "main")}),
            target=TARGET,
        )
    assembly = "".join(part.inspect_source("asm") for part in (module.mod, *module.mod.imports) if part.kind == "llvm")
    assert "vmulps" in assembly or "fmul" in assembly or "mulps" in assembly
    assert "AllocWorkspace@" not in assembly
