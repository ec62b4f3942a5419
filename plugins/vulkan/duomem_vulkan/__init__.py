"""TVM device plugin: runs TVM's WGSL kernels (device "webgpu") on Vulkan through wgpu-native.

Importing tvm loads it through the entry-point group `tvm.backends`. Device numbers are positions in `gpus()`;
a software rasteriser comes last and is marked, so that the caller can refuse it.
"""

import ctypes
from pathlib import Path
from typing import Any

import tvm_ffi

LIBRARY = Path(__file__).with_name("libduomem_vulkan.so")
_library: ctypes.CDLL | None = None


def load(library: Path = LIBRARY) -> None:
    """Load `library` into this process and register it with TVM's runtime; calling it again does nothing.

    Raises OSError where a shared library is missing or too old, RuntimeError where TVM has another webgpu runtime.
    """
    global _library
    loaded = ctypes.CDLL(str(library))
    loaded.duomem_vulkan_register.restype = ctypes.c_char_p
    reason = loaded.duomem_vulkan_register()
    if reason is not None:
        raise RuntimeError(reason.decode())
    _library = loaded


def _autoload() -> None:
    """Entry point of the group `tvm.backends`: TVM calls it at the end of `import tvm`."""
    load()


def _plain(value: Any) -> Any:
    """A TVM container as plain Python."""
    if isinstance(value, tvm_ffi.Map):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tvm_ffi.Array):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def gpus() -> list[dict[str, Any]]:
    """GPUs of this machine, best first: index, name, type (discrete, integrated, cpu, unknown), software, backend,
    driver, vendor, vendor_id, device_id, f16, subgroups, limits (bytes and counts). Empty without a Vulkan driver."""
    return _plain(tvm_ffi.get_global_func("duomem_vulkan.gpus")())


def statistics(device: int = 0) -> dict[str, Any]:
    """Counts of device number `device` since it was first used: dispatches, submits, bind groups (alive, made),
    pipelines and the seconds spent on them, buffers and bytes alive, and the peak of bytes.

    Raises RuntimeError where there is no such GPU.
    """
    return _plain(tvm_ffi.get_global_func("duomem_vulkan.statistics")(device))


def prepare(module: Any, device: int = 0) -> int:
    """Compile all kernels of a loaded TVM module (and its imports) for device number `device`; returns how many.

    Raises ValueError with the compiler's message for a kernel that the GPU's driver refuses.
    """
    return tvm_ffi.get_global_func("duomem_vulkan.prepare")(module, device)
