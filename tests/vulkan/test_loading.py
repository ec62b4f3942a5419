"""Loading the Vulkan plugin and its modules: twice, damaged, without TVM's compiler, after the device is lost."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

pytestmark = pytest.mark.vulkan

STEP = """
import numpy as np, tvm, wgsl
device = tvm.device("webgpu", 0)
x, y = (tvm.runtime.tensor(np.full(64, 3, "float32"), device) for _ in range(2))
kernel = wgsl.load(wgsl.scale())["scale"]
kernel(wgsl.pointer(x), wgsl.pointer(y), 2.0, 1, 1)
print(y.numpy()[5])
"""


def test_gpus_are_described(gpu_facts: dict[str, Any]) -> None:
    assert gpu_facts["type"] in {"discrete", "integrated", "cpu", "unknown"}
    assert gpu_facts["name"] and gpu_facts["driver"]
    assert isinstance(gpu_facts["f16"], bool)
    assert gpu_facts["limits"]["max_storage_buffer_binding_size"] >= 128 << 20
    if "llvmpipe" in gpu_facts["name"]:
        assert gpu_facts["software"] is True


def test_device_attributes(device: Any, gpu_facts: dict[str, Any]) -> None:
    import duomem_vulkan
    import tvm

    assert device.exist
    assert device.device_name == gpu_facts["name"]
    assert device.max_threads_per_block == gpu_facts["limits"]["max_compute_invocations_per_workgroup"]
    missing = len(duomem_vulkan.gpus())
    assert not tvm.device("webgpu", missing).exist
    with pytest.raises(RuntimeError, match=f"no adapter {missing}"):
        tvm.runtime.empty((4,), "float32", tvm.device("webgpu", missing))


def test_loading_twice_and_from_two_files_does_nothing(run_python: Any, tmp_path: Any) -> None:
    import shutil

    import duomem_vulkan

    for library in duomem_vulkan.LIBRARY.parent.glob("*.so"):
        shutil.copy(library, tmp_path)
    copy = tmp_path / duomem_vulkan.LIBRARY.name
    result = run_python(f"""
import pathlib, tvm, duomem_vulkan
duomem_vulkan.load()
duomem_vulkan.load(pathlib.Path({str(copy)!r}))
{STEP}""")
    assert result.stdout == "7.0\n", result.stdout + result.stderr


def test_works_with_tvms_runtime_alone(run_python: Any) -> None:
    result = run_python(STEP + "print(tvm._RUNTIME_ONLY)", TVM_USE_RUNTIME_LIB="1")
    assert result.stdout == "7.0\nTrue\n", result.stdout + result.stderr


def test_looking_for_gpus_says_nothing(run_python: Any) -> None:
    """Mesa complains of a missing Wayland display where it is let to put the devices in order."""
    result = run_python("import tvm, duomem_vulkan; duomem_vulkan.gpus()", XDG_RUNTIME_DIR="", WAYLAND_DISPLAY="")
    assert (result.returncode, result.stderr) == (0, "")


def test_without_a_driver_tvm_still_imports(run_python: Any) -> None:
    program = """
import tvm, duomem_vulkan
print(duomem_vulkan.gpus(), tvm.device("webgpu", 0).exist)
try:
    tvm.runtime.empty((4,), "float32", tvm.device("webgpu", 0))
except RuntimeError as error:
    print(error)
"""
    result = run_python(program, VK_DRIVER_FILES="/nonexistent.json", VK_ICD_FILENAMES="/nonexistent.json")
    assert result.stdout.startswith("[] False\n"), result.stdout + result.stderr
    assert "install the GPU's Vulkan driver" in result.stdout


@pytest.mark.parametrize("in_submission", [False, True])
def test_a_lost_device_raises_from_then_on_and_frees_quietly(run_python: Any, in_submission: bool) -> None:
    result = run_python(f"""
import numpy as np, tvm, wgsl
device = tvm.device("webgpu", 0)
x, y = (tvm.runtime.tensor(np.zeros(64, "float32"), device) for _ in range(2))
kernel = wgsl.load(wgsl.scale())["scale"]
kernel(wgsl.pointer(x), wgsl.pointer(y), 2.0, 1, 1)
def lose():
    tvm.get_global_func("duomem_vulkan.lose_device")(0, {in_submission})
def launch():
    kernel(wgsl.pointer(x), wgsl.pointer(y), 2.0, 1, 1)
    device.sync()
try:
    lose()
except RuntimeError:
    pass
for attempt in (launch, y.numpy, lambda: x.copyfrom(np.ones(64, "float32")) or device.sync(),
                lambda: tvm.runtime.empty((4,), "float32", device), device.sync):
    try:
        attempt()
        print("nothing raised")
    except RuntimeError as error:
        print("device lost" in str(error))
del x, y
print("end")
""")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "True\n" * 5 + "end\n", result.stdout + result.stderr
    assert ("panicked" in result.stderr) == in_submission


def test_damaged_modules_raise(gpu_facts: dict[str, Any]) -> None:
    import wgsl

    whole = wgsl.module_bytes(wgsl.scale(), wgsl.Kernel("other", "fn other() {}", (wgsl.HANDLE,), (1,)))
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="webgpu module"):
            wgsl.load_bytes(whole[:end])
    with pytest.raises(ValueError, match="left over"):
        wgsl.load_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="truncated or damaged"):
        wgsl.load_bytes(struct.pack("<Q", 2**62) + whole[8:])


def test_random_damage_never_crashes(device: Any) -> None:
    import wgsl

    whole = wgsl.module_bytes(wgsl.scale())
    random.seed(11)
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        try:
            module = wgsl.load_bytes(bytes(damaged))
            if module.implements_function("scale"):
                module["scale"]
        except (ValueError, UnicodeDecodeError):
            pass


def test_module_keeps_its_bytes_and_sources(device: Any) -> None:
    import wgsl

    module = wgsl.load(wgsl.scale())
    assert module.kind == "webgpu"
    assert "fn scale(" in module.inspect_source()
    assert module.implements_function("scale") and not module.implements_function("other")
