"""Kernels on the Vulkan plugin: values against numpy, order, large grids, counts, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.vulkan

rng = np.random.default_rng(5)


@pytest.fixture(scope="module")
def wgsl(gpu_facts: dict[str, Any]) -> Any:
    import wgsl

    return wgsl


def _chain(device: Any, wgsl: Any, element: str, dtype: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """`steps` dependent dispatches on the device, and the same in numpy."""
    import tvm

    scale = wgsl.load(wgsl.scale(element))["scale"]
    expected = rng.standard_normal(64 * 100).astype(dtype)
    x, y = tvm.runtime.tensor(expected, device), tvm.runtime.empty(expected.shape, dtype, device)
    for step in range(steps):
        factor, shift = 1 - 0.05 * (step % 7), step % 3 - 1
        scale(wgsl.pointer(x), wgsl.pointer(y), factor, shift, 100)
        expected = (expected.astype("float32") * np.float32(factor) + np.float32(shift)).astype(dtype)
        x, y = y, x
    return x.numpy(), expected


def test_a_chain_of_dispatches_in_float32(device: Any, wgsl: Any) -> None:
    got, expected = _chain(device, wgsl, "f32", "float32", 500)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_chain_of_dispatches_in_float16(device: Any, wgsl: Any, gpu_facts: dict[str, Any]) -> None:
    if not gpu_facts["f16"]:
        pytest.skip(f"{gpu_facts['name']} has no 16-bit floats in shaders")
    got, expected = _chain(device, wgsl, "f16", "float16", 40)
    np.testing.assert_allclose(got.astype("float32"), expected.astype("float32"), atol=0.02)


def test_writes_and_copies_keep_program_order(device: Any, wgsl: Any) -> None:
    import tvm

    scale = wgsl.load(wgsl.scale())["scale"]
    x, y = (tvm.runtime.empty((64,), "float32", device) for _ in range(2))
    copies = []
    for step in range(300):
        x.copyfrom(np.full(64, step, "float32"))
        scale(wgsl.pointer(x), wgsl.pointer(y), 2.0, 1, 1)
        copies.append(tvm.runtime.empty((64,), "float32", device))
        y.copyto(copies[-1])
    assert [float(copy.numpy()[7]) for copy in copies] == [2.0 * step + 1 for step in range(300)]


@pytest.mark.parametrize("blocks", [65_535, 65_536, 200_001])
def test_grids_above_the_limit_of_one_dimension(device: Any, wgsl: Any, blocks: int) -> None:
    import tvm

    data = rng.standard_normal(blocks * 4).astype("float32")
    scale = wgsl.load(wgsl.scale(threads=4))["scale"]
    x, y = tvm.runtime.tensor(data, device), tvm.runtime.tensor(np.zeros_like(data), device)
    scale(wgsl.pointer(x), wgsl.pointer(y), 3.0, 0, blocks)
    np.testing.assert_allclose(y.numpy(), data * 3, rtol=1e-6)


def test_an_empty_grid_does_nothing(device: Any, wgsl: Any) -> None:
    import tvm

    scale = wgsl.load(wgsl.scale())["scale"]
    x, y = (tvm.runtime.tensor(np.full(64, value, "float32"), device) for value in (1, 2))
    scale(wgsl.pointer(x), wgsl.pointer(y), 3.0, 0, 0)
    assert (y.numpy() == 2).all()


def test_dispatches_are_counted(device: Any, wgsl: Any) -> None:
    import duomem_vulkan
    import tvm

    scale = wgsl.load(wgsl.scale())["scale"]
    x, y = (tvm.runtime.tensor(np.zeros(64, "float32"), device) for _ in range(2))
    before = duomem_vulkan.statistics()
    for _ in range(17):
        scale(wgsl.pointer(x), wgsl.pointer(y), 1.0, 0, 1)
    after = duomem_vulkan.statistics()
    assert after["dispatches"] - before["dispatches"] == 17
    assert after["bind_groups_made"] - before["bind_groups_made"] == 1


def test_the_same_kernel_is_compiled_once_and_ahead_when_asked(device: Any, wgsl: Any) -> None:
    import duomem_vulkan
    import tvm

    kernel = wgsl.scale(threads=32)
    before = duomem_vulkan.statistics()["pipelines"]
    assert duomem_vulkan.prepare(wgsl.load(kernel)) == 1
    assert duomem_vulkan.statistics()["pipelines"] == before + 1
    x, y = (tvm.runtime.tensor(np.zeros(32, "float32"), device) for _ in range(2))
    wgsl.load(kernel)["scale"](wgsl.pointer(x), wgsl.pointer(y), 1.0, 0, 1)
    assert duomem_vulkan.statistics()["pipelines"] == before + 1


def test_one_text_with_two_binding_layouts_is_two_kernels(device: Any, wgsl: Any) -> None:
    import tvm

    kernel = wgsl.scale(threads=16)
    x, y = (tvm.runtime.tensor(np.full(16, 2, "float32"), device) for _ in range(2))
    wgsl.load(kernel)["scale"](wgsl.pointer(x), wgsl.pointer(y), 2.0, 0, 1)
    with pytest.raises(ValueError, match="webgpu"):  # the text writes to what is bound read-only
        wgsl.load(replace(kernel, writes=(0, 0)))["scale"](wgsl.pointer(x), wgsl.pointer(y), 3.0, 0, 1)
    assert y.numpy()[0] == 4


def test_memory_is_flat_over_a_thousand_steps(run_python: Any) -> None:
    result = run_python("""
import numpy as np, resource, tvm, wgsl, duomem_vulkan
device = tvm.device("webgpu", 0)
scale = wgsl.load(wgsl.scale())["scale"]
x = tvm.runtime.tensor(np.zeros(6400, "float32"), device)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def turn(n):
    for step in range(n):
        y = tvm.runtime.empty((6400,), "float32", device)  # a new buffer each step: bind groups come and go
        for _ in range(20):
            scale(wgsl.pointer(x), wgsl.pointer(y), 1.0, 1, 100)
        y.numpy()
turn(200)
start = resident()
turn(1000)
print(resident() - start, duomem_vulkan.statistics()["bind_groups"])
""")
    assert result.returncode == 0, result.stderr
    growth, bind_groups = map(int, result.stdout.split())
    assert growth < 8 << 20
    assert bind_groups <= 1


def _launch(device: Any, wgsl: Any, kernel: Any, *scalars: Any) -> None:
    import tvm

    x, y = (tvm.runtime.tensor(np.zeros(64, "float32"), device) for _ in range(2))
    wgsl.load(kernel)[kernel.name](wgsl.pointer(x), wgsl.pointer(y), *scalars)
    y.numpy()


def test_bad_wgsl_raises_with_the_compilers_message(device: Any, wgsl: Any) -> None:
    kernel = wgsl.scale()
    for broken in (kernel.wgsl.replace("podArgs.shift", "podArgs.nothing"), "this is not WGSL"):
        with pytest.raises(ValueError, match=r"(?s)webgpu: .*Shader 'scale' parsing error"):
            _launch(device, wgsl, replace(kernel, wgsl=broken), 1.0, 0, 1)
    with pytest.raises(ValueError, match="webgpu"):
        _launch(device, wgsl, replace(kernel, wgsl=kernel.wgsl.replace("fn scale(", "fn other(")), 1.0, 0, 1)
    _launch(device, wgsl, kernel, 1.0, 0, 1)


def test_a_workgroup_above_the_gpus_limit_raises(device: Any, wgsl: Any, gpu_facts: dict[str, Any]) -> None:
    threads = gpu_facts["limits"]["max_compute_invocations_per_workgroup"] * 2
    with pytest.raises(ValueError, match="webgpu"):
        _launch(device, wgsl, wgsl.scale(threads=threads), 1.0, 0, 1)


def test_more_buffers_than_the_gpu_binds_are_refused(device: Any, wgsl: Any, gpu_facts: dict[str, Any]) -> None:
    import tvm

    count = gpu_facts["limits"]["max_storage_buffers_per_shader_stage"] + 1
    kernel = replace(wgsl.scale(), arguments=(wgsl.HANDLE,) * count, writes=(0,) * count)
    tensor = tvm.runtime.tensor(np.zeros(64, "float32"), device)
    with pytest.raises(ValueError, match=f"binds {count} buffers, above maxStorageBuffersPerShaderStage = {count - 1}"):
        wgsl.load(kernel)["scale"](*[wgsl.pointer(tensor)] * count, 1)


def test_wrong_arguments_raise(device: Any, wgsl: Any) -> None:
    kernel = wgsl.scale()
    with pytest.raises(ValueError, match="takes 4 arguments and 1 launch dimensions, got 4"):
        _launch(device, wgsl, kernel, 1.0, 0)
    with pytest.raises(ValueError, match="outside 32 bits"):
        _launch(device, wgsl, kernel, 1.0, 2**31, 1)
    with pytest.raises(ValueError, match="grid of -1"):
        _launch(device, wgsl, kernel, 1.0, 0, -1)
    tall = replace(kernel, axes=("blockIdx.x", "blockIdx.y"))
    with pytest.raises(ValueError, match="maxComputeWorkgroupsPerDimension"):
        _launch(device, wgsl, tall, 1.0, 0, 1, 70_000)
    deep = replace(kernel, axes=("blockIdx.x", "blockIdx.z"))
    with pytest.raises(ValueError, match="z belongs to the plugin"):
        _launch(device, wgsl, deep, 1.0, 0, 1, 2)


def test_unknown_tags_and_types_are_refused(wgsl: Any) -> None:
    kernel = wgsl.scale()
    for broken in (
        replace(kernel, axes=("vthread.x",)),
        replace(kernel, axes=("blockIdx.w",)),
        replace(kernel, writes=(0,)),
        replace(kernel, arguments=(wgsl.HANDLE, wgsl.HANDLE, (0, 64, 1), wgsl.INT)),
    ):
        with pytest.raises(ValueError, match=r"webgpu: .*scale"):
            wgsl.load(broken)["scale"]
