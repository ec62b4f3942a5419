"""A bundle's compiled library, loaded: on its device, with its weights and an empty KV cache.

`choose_libraries` says which to try on this machine, `load_library` loads one whole or raises.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from duomem.core.cpu import cpu_arch, cpu_features
from duomem.core.errors import DeviceError
from duomem.core.memory import available_memory
from duomem.device.engine import cuda
from duomem.device.engine.bundle import Bundle, Library
from duomem.device.engine.gpu import choose_gpu
from duomem.device.engine.huge_pages import use_huge_pages
from duomem.device.engine.preflight import check_memory, gpu_memory, memory_need
from duomem.device.engine.tvm_runtime import import_tvm_runtime, tvm_message
from duomem.device.engine.weights import library_weight, read_tensor_cache

RUNTIME_DEVICES = {
    "cuda": cuda.NEEDS,
    "metal": "a Mac with Apple silicon",
}
"""Devices that TVM's own runtime knows, and what each needs."""
_KV_FUNCTIONS = ("add_sequence", "remove_sequence", "fork_sequence", "popn", "begin_forward", "end_forward")


@dataclass(frozen=True)
class CacheSize:
    """Room in a KV cache: sessions open at once, and the most tokens each may hold."""

    sessions: int
    context_length: int


@dataclass(frozen=True)
class LoadedLibrary:
    """A library on its device, ready to run.

    device: TVM's. functions: prefill, prefill_all and decode. params: the weights, on the device. cache: the KV cache,
    and kv the functions that TVM manages it with, free_pages the one that counts its free pages.
    tensor, shape: make TVM's arguments from numpy's.
    """

    bundle: Bundle
    library: Library
    size: CacheSize
    device: Any
    functions: dict[str, Any]
    params: Any
    cache: Any
    kv: dict[str, Any]
    free_pages: Any
    tensor: Any
    shape: Any


def cache_size(bundle: Bundle, context_length: int | None, sessions: int) -> CacheSize:
    """The room asked for, if the bundle has it and this machine the memory. Raises DeviceError if not.

    context_length: tokens, the bundle's own by default.
    """
    length = bundle.context_length if context_length is None else context_length
    if not 1 <= length <= bundle.context_length:
        raise DeviceError(
            f"context length {length} is not within this bundle's 1..{bundle.context_length}: "
            "give less, or compile with a larger --context"
        )
    if sessions < 1:
        raise DeviceError(f"max_sessions is {sessions}: give at least 1")
    check_memory(memory_need(bundle, length, sessions), available_memory(), bundle, length, sessions)
    return CacheSize(sessions, length)


def choose_libraries(bundle: Bundle, device: str, file: str | None) -> list[Library]:
    """The libraries to try, in this order: one, or with device "auto" the best of each device, the CPU's last.

    Raises DeviceError if this CPU can run none of those.
    """
    where = bundle.folder
    if device not in (*bundle.devices, "auto"):
        devices = " and ".join(bundle.devices)
        raise DeviceError(f"{where}: is compiled for {devices}, not for {device}: ask for {devices}")
    if bundle.arch != cpu_arch():
        raise DeviceError(f"{where}: is compiled for {bundle.arch}, this is {cpu_arch()}: compile it for this")
    features = cpu_features()
    devices_tried = bundle.devices if device == "auto" else (device,)
    runnable = [library for name in devices_tried for library in bundle.runnable(features, name)]
    if file is None:
        best = {library.device: library for library in reversed(runnable)}
        chosen = [best[name] for name in devices_tried if name in best]
        return chosen or [bundle.library_for(features, devices_tried[-1])]
    for library in runnable:
        if library.file == file:
            return [library]
    names = ", ".join(library.file for library in runnable) or "none"
    raise DeviceError(f"{where}: {file} is no library of it that this CPU can run: those are {names}")


def load_library(bundle: Bundle, library: Library, size: CacheSize, software: bool) -> LoadedLibrary:
    """Load `library`, the bundle's weights and an empty KV cache on the library's device.

    software: whether a software rasteriser may stand in for a GPU. Raises DeviceError if this machine has no such
    device, too little memory on it, or the library does not load there.
    """
    where = bundle.folder / library.file
    tvm = import_tvm_runtime()
    device = _device(tvm, library, f"{where}", software)
    if library.device != "cpu":
        need = replace(memory_need(bundle, size.context_length, size.sessions), runtime=0)
        check_memory(need, gpu_memory(device), bundle, size.context_length, size.sessions)
    try:
        module = tvm.runtime.load_module(str(where))
        if library.device == "vulkan":
            tvm.get_global_func("duomem_vulkan.prepare")(module, device.index)
        machine = tvm.runtime.vm.VirtualMachine(module, device)
        metadata = json.loads(machine["_metadata"]())
    except (RuntimeError, OSError, AttributeError, ValueError) as e:
        raise DeviceError(f"{where}: cannot be loaded ({tvm_message(e)}): compile the bundle again") from None
    try:
        params = tvm.runtime.convert(_load_params(tvm, device, bundle, metadata))
    except (RuntimeError, MemoryError) as e:
        raise DeviceError(f"{where}: the device takes no weights ({tvm_message(e)}): use another device") from None
    if library.device == "cpu":
        use_huge_pages(touched=True)
    cache = _create_cache(tvm, machine, bundle, size)
    if library.device == "cpu":
        use_huge_pages(touched=False)
    return LoadedLibrary(
        bundle,
        library,
        size,
        device,
        {name: machine[name] for name in ("prefill", "prefill_all", "decode")},
        params,
        cache,
        {name: tvm.get_global_func(f"vm.builtin.kv_state_{name}") for name in _KV_FUNCTIONS},
        tvm.get_global_func("vm.builtin.attention_kv_cache_get_num_available_pages"),
        tvm.runtime.tensor,
        tvm.runtime.ShapeTuple,
    )


def _device(tvm: Any, library: Library, where: str, software: bool) -> Any:
    """TVM's device that `library` runs on."""
    if library.device == "cpu":
        return tvm.cpu()
    if library.device == "vulkan":
        return tvm.device("webgpu", choose_gpu(tvm, software).index)
    if library.device not in RUNTIME_DEVICES:
        raise DeviceError(f"{where}: is for the device {library.device}, which this duomem does not know: update it")
    device = tvm.device(library.device)
    if not device.exist:
        lacking = cuda.lacking() if library.device == "cuda" else ""
        raise DeviceError(f"device {library.device}: none here: it needs {RUNTIME_DEVICES[library.device]}{lacking}")
    return device


def _load_params(tvm: Any, device: Any, bundle: Bundle, metadata: Any) -> list[Any]:
    records = read_tensor_cache(bundle.model_dir)
    params = []
    for entry in metadata["params"]:
        for name in entry["stored"]:
            if name not in records:
                raise DeviceError(f"{bundle.model_dir}: holds no {name}: compile the bundle again")
        array = library_weight(
            [records[name] for name in entry["stored"]],
            tuple(entry["shape"]),
            entry["dtype"],
            bundle.quantization,
            metadata.get("transposed", False),
        )
        params.append(tvm.runtime.tensor(array, device))
    return params


def _create_cache(tvm: Any, machine: Any, bundle: Bundle, size: CacheSize) -> Any:
    page = bundle.manifest["context"]["page_size"]
    tokens = -(-size.context_length // page) * size.sessions * page
    sizes = (size.sessions, tokens, bundle.prefill_chunk, page)
    try:
        return machine["create_kv_cache"](*(tvm.runtime.ShapeTuple([n]) for n in sizes))
    except (RuntimeError, MemoryError) as e:
        megabytes = tokens * bundle.manifest["context"]["kv_bytes_per_token"] / 1e6
        raise DeviceError(
            f"a KV cache of {size.sessions} sessions of {size.context_length} tokens needs "
            f"{megabytes:.0f} MB, which could not be had ({tvm_message(e)}): give a smaller context_length"
        ) from None
