"""GPUs this machine has for a bundle's Vulkan libraries, as the plugin duomem-vulkan reports them.

A software rasteriser computes the same, slower than the CPU's own kernels, so it runs only where it is asked for.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from duomem.core.errors import DeviceError
from duomem.core.process import python_module, run
from duomem.device.engine.tvm_runtime import import_tvm_runtime

SOFTWARE = "DUOMEM_SOFTWARE_VULKAN"
"""Environment variable that, set to 1, lets a software rasteriser be chosen like a GPU."""

_ASK = python_module("duomem.device.engine.gpu")
_ASK_LIMIT = 60.0
"""Seconds a driver may take to say which GPUs it has."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that Vulkan drives; index: its number as a TVM device. max_buffer: bytes a kernel can see of one tensor."""

    index: int
    name: str
    software: bool
    max_buffer: int


def gpus(tvm: Any) -> list[Gpu]:
    """The GPUs, best first; none without a Vulkan driver or without the plugin, which `tvm` loads itself."""
    ask = tvm.get_global_func("duomem_vulkan.gpus", allow_missing=True)
    if ask is None:
        return []
    return [
        Gpu(
            int(found["index"]),
            str(found["name"]),
            bool(found["software"]),
            int(found["limits"]["max_storage_buffer_binding_size"]),
        )
        for found in ask()
    ]


def choose_gpu(tvm: Any, software: bool) -> Gpu:
    """The best GPU; a software rasteriser only if `software` allows it. Raises DeviceError if there is none."""
    if tvm.get_global_func("duomem_vulkan.gpus", allow_missing=True) is None:
        raise DeviceError("device vulkan: the plugin duomem-vulkan is missing: install its wheel from the bundle")
    found = gpus(tvm)
    if not found:
        raise DeviceError("device vulkan: no GPU with a Vulkan driver: install one (mesa-vulkan-drivers on Debian)")
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
    """Whether any GPU, a software rasteriser too, is here; asked in another process, as drivers may crash."""
    return run(_ASK, _ASK_LIMIT).status == 0


if __name__ == "__main__":
    sys.exit(0 if gpus(import_tvm_runtime()) else 3)
