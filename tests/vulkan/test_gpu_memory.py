"""Buffers of the Vulkan plugin: any size, any offset, limits, and nothing left behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.vulkan

rng = np.random.default_rng(3)


def _bytes(count: int) -> np.ndarray:
    return rng.integers(0, 256, count, dtype=np.uint8)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 65_535, 65_536, 65_537, 9_000_001, 40_000_003])
def test_copies_both_ways_at_any_size(device: Any, size: int) -> None:
    import tvm

    data = _bytes(size)
    tensor = tvm.runtime.tensor(data, device)
    np.testing.assert_array_equal(tensor.numpy(), data)
    other = tvm.runtime.empty((size,), "uint8", device)
    tensor.copyto(other)
    np.testing.assert_array_equal(other.numpy(), data)


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4, 7, 8, 13])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 31, 70_001])
def test_a_view_at_an_offset_touches_only_its_own_bytes(device: Any, offset: int, size: int) -> None:
    import tvm

    before, part = _bytes(offset + size + 9), _bytes(size)
    whole = tvm.runtime.tensor(before, device)
    view = whole._create_view((size,), "uint8", relative_byte_offset=offset)
    np.testing.assert_array_equal(view.numpy(), before[offset : offset + size])
    view.copyfrom(part)
    expected = before.copy()
    expected[offset : offset + size] = part
    np.testing.assert_array_equal(whole.numpy(), expected)
    other = tvm.runtime.empty((size,), "uint8", device)
    view.copyto(other)
    np.testing.assert_array_equal(other.numpy(), part)


def test_an_empty_tensor(device: Any) -> None:
    import tvm

    assert tvm.runtime.empty((0, 4), "float32", device).numpy().shape == (0, 4)


def test_a_tensor_above_the_gpus_limit_is_refused_by_name(device: Any, gpu_facts: dict[str, Any]) -> None:
    import tvm

    limits = gpu_facts["limits"]
    limit = min(limits["max_buffer_size"], limits["max_storage_buffer_binding_size"])
    with pytest.raises(MemoryError, match=rf"max(StorageBufferBindingSize|BufferSize) = {limit}.*split the tensor"):
        tvm.runtime.empty((limit + 1,), "uint8", device)
    with pytest.raises(MemoryError):
        tvm.runtime.empty((2**40,), "uint8", device)
    np.testing.assert_array_equal(tvm.runtime.tensor(np.arange(5), device).numpy(), np.arange(5))


def test_running_out_of_memory_raises_and_the_device_goes_on(run_python: Any) -> None:
    result = run_python("""
import resource, numpy as np, tvm
device = tvm.device("webgpu", 0)
tvm.runtime.tensor(np.zeros(64, "float32"), device)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), used + (400 << 20)))
held = []
try:
    for _ in range(64):
        held.append(tvm.runtime.empty((64 << 20,), "uint8", device))
except MemoryError as error:
    print("MemoryError", "out of memory" in str(error), len(held))
held.clear()
print(tvm.runtime.tensor(np.arange(4), device).numpy().tolist())
""")
    assert result.stdout.startswith("MemoryError True"), result.stdout + result.stderr
    assert result.stdout.endswith("[0, 1, 2, 3]\n"), result.stdout + result.stderr


def test_buffers_are_freed(device: Any) -> None:
    import duomem_vulkan
    import tvm

    before = duomem_vulkan.statistics()
    tensors = [tvm.runtime.empty((1_000_000,), "uint8", device) for _ in range(5)]
    held = duomem_vulkan.statistics()
    assert held["bytes"] - before["bytes"] == 5 * 1_000_000
    assert held["buffers"] - before["buffers"] == 5
    del tensors
    assert duomem_vulkan.statistics()["bytes"] == before["bytes"]


def test_memory_is_flat_over_allocations(run_python: Any) -> None:
    result = run_python("""
import numpy as np, resource, tvm
device = tvm.device("webgpu", 0)
data = np.ones(1 << 20, "float32")
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def turn(n):
    for _ in range(n):
        tensor = tvm.runtime.tensor(data, device)
        assert tensor.numpy()[-1] == 1
turn(60)
start = resident()
turn(300)
print(resident() - start)
""")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 16 << 20  # 300 x 4 MiB went through
