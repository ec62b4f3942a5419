"""GPUs this machine has for a bundle's Vulkan libraries, as the plugin duomem-vulkan reports them.

A software rasteriser computes the same, slower than the CPU's own kernels, so it runs only where it is asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from duomem.core.errors import DeviceError

SOFTWARE = "DUOMEM_SOFTWARE_VULKAN"
"""Environment variable that, set to 1, lets a software rasteriser be chosen like a GPU."""

_PROBE = """
import os
os.environ["TVM_USE_RUNTIME_LIB"] = "1"
import tvm
from duomem.device.engine.gpu import gpus
raise SystemExit(0 if gpus(tvm) else 3)
"""
_PROBE_LIMIT = 60.0


@dataclass(frozen=True)
class Gpu:
    """A Vulkan adapter; index: its number as a TVM device. max_buffer: bytes a kernel can see of one tensor."""

    index: int
    name: str
    software: bool
    max_buffer: int


def gpus(tvm: Any) -> list[Gpu]:
    """The Vulkan adapters, best first; none without a driver or without the plugin, which `tvm` loads itself."""
    probe = tvm.get_global_func("duomem_vulkan.gpus", allow_missing=True)
    if probe is None:
        return []
    return [
        Gpu(
            int(found["index"]),
            str(found["name"]),
            bool(found["software"]),
            int(found["limits"]["max_storage_buffer_binding_size"]),
        )
        for found in probe()
    ]


def choose_gpu(tvm: Any, software: bool) -> Gpu:
    """The best Vulkan adapter; a software rasteriser only if `software` allows it. UserError if there is none."""
    if tvm.get_global_func("duomem_vulkan.gpus", allow_missing=True) is None:
        raise DeviceError("device vulkan: the plugin duomem-vulkan is missing: install its wheel from the bundle")
    found = gpus(tvm)
    if not found:
        raise DeviceError("device vulkan: no Vulkan adapter: install the GPU's driver (mesa-vulkan-drivers on Debian)")
    allowed = [gpu for gpu in found if software or not gpu.software]
    if not allowed:
        raise DeviceError(
            f"device vulkan: only a software rasteriser ({found[0].name}): install the GPU's driver, or set "
            f"{SOFTWARE}=1"
        )
    return allowed[0]


def software_allowed() -> bool:
    """Whether the environment lets a software rasteriser be chosen."""
    return os.environ.get(SOFTWARE) == "1"


def has_gpu() -> bool:
    """Whether any Vulkan adapter, software or not, is here; asked in another process, as drivers may crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], timeout=_PROBE_LIMIT, capture_output=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
