"""What the doctor asks in a process of its own, as it may crash or hang: `python -m duomem.device.doctor.ask TOPIC`.

One JSON object goes to standard output.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from typing import Any

from duomem.device.engine.cuda import LIBRARIES, missing_libraries
from duomem.device.engine.tvm_runtime import import_tvm_runtime

GENERATORS = ("llvm", "cuda", "metal", "opencl", "webgpu", "vulkan")
"""Code generators a TVM compiler may have."""
RUNTIMES = ("cpu", "cuda", "metal", "opencl", "webgpu", "vulkan")
"""Devices a TVM runtime may know."""
_MAJOR, _MINOR = 75, 76
"""CUDA's numbers of the attributes that make a GPU's compute capability."""


def tvm() -> dict[str, Any]:
    """{"runtimes", "generators"}: what the TVM here can run and generate."""
    sys.modules["torch"] = None  # type: ignore[assignment] # tvm_ffi would import it
    import tvm as library

    def those(prefix: str, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if library.get_global_func(prefix + name, allow_missing=True) is not None]

    return {"runtimes": those("device_api.", RUNTIMES), "generators": those("target.build.", GENERATORS)}


def vulkan() -> dict[str, Any]:
    """{"gpus"}: those that duomem-vulkan finds, with the name and whether it is a software rasteriser."""
    import_tvm_runtime()  # which loads the plugin
    import duomem_vulkan

    return {"gpus": [{"name": str(g["name"]), "software": bool(g["software"])} for g in duomem_vulkan.gpus()]}


def cuda() -> dict[str, Any]:
    """{"missing": libraries that do not load, "devices"}, and with a driver its "status" and version, "driver"."""
    facts: dict[str, Any] = {"missing": missing_libraries(), "devices": []}
    if LIBRARIES[0] in facts["missing"]:
        return facts
    driver = ctypes.CDLL(LIBRARIES[0])
    version, count = ctypes.c_int(), ctypes.c_int()
    facts["status"] = driver.cuInit(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    facts["driver"] = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if facts["status"] == 0:
        driver.cuDeviceGetCount(ctypes.byref(count))
    for i in range(count.value):
        device, name, major, minor = ctypes.c_int(), ctypes.create_string_buffer(100), ctypes.c_int(), ctypes.c_int()
        driver.cuDeviceGet(ctypes.byref(device), i)
        driver.cuDeviceGetName(name, 100, device)
        driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        facts["devices"].append({"name": name.value.decode(), "sm": f"sm_{major.value}{minor.value}"})
    return facts


def vulkan_loader() -> dict[str, Any]:
    """{"loads"}: whether the Vulkan loader is here."""
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return {"loads": False}
    return {"loads": True}


TOPICS: dict[str, Callable[[], dict[str, Any]]] = {
    "tvm": tvm,
    "vulkan": vulkan,
    "cuda": cuda,
    "vulkan-loader": vulkan_loader,
}

if __name__ == "__main__":
    print(json.dumps(TOPICS[sys.argv[1]]()))
