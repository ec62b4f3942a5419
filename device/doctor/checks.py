"""What the doctor looks for on this machine: one probe a thing, each a Finding, whatever is missing or broken.

Nothing is imported but to ask its version; whatever may crash or hang runs apart.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duomem.core.cpu import cpu_arch, cpu_features, usable_cores
from duomem.core.errors import UserError
from duomem.core.process import TIMEOUT, ask_python, run_command, said_lines
from duomem.device.alfworld.game_files import SPLITS, find_games, resolve_root
from duomem.device.engine.cuda import LIBRARIES, MAJOR, find_nvcc
from duomem.device.engine.preflight import all_memory, available_memory

GENERATORS = ("llvm", "cuda", "metal", "opencl", "webgpu", "vulkan")
RUNTIMES = ("cpu", "cuda", "metal", "opencl", "webgpu", "vulkan")
COMPILE_PACKAGES = ("torch", "transformers", "safetensors")


@dataclass(frozen=True)
class Finding:
    """A thing looked for. present: None where that could not be told; facts: for programs and the target table."""

    name: str
    present: bool | None
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def run_all(probes: Mapping[str, Callable[[], Finding]]) -> Iterator[Finding]:
    """Every probe's finding, in order; they run side by side, and one that raises or hangs is a finding as well."""
    found: dict[str, Finding] = {}

    def run(name: str, probe: Callable[[], Finding]) -> None:
        try:
            found[name] = probe()
        except Exception as e:
            said = next(iter(said_lines(str(e))), "")
            found[name] = Finding(name, None, f"cannot be told: {type(e).__name__}: {said}")

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in probes.items()]
    for thread in threads:
        thread.start()
    for thread, name in zip(threads, probes, strict=True):
        thread.join(1.5 * TIMEOUT)
        yield found.get(name, Finding(name, None, f"cannot be told: no answer in {1.5 * TIMEOUT:.0f} s"))


def _duomem() -> Finding:
    version = importlib.metadata.version("duomem")
    return Finding(
        "duomem",
        True,
        f"{version}, Python {platform.python_version()}, {platform.platform()}",
        {"version": version, "python": platform.python_version(), "platform": platform.platform()},
    )


def _cpu() -> Finding:
    features = cpu_features()
    cores = usable_cores()
    model = _cpu_model()
    known = " ".join(sorted(features)) if features is not None else "features unknown"
    return Finding(
        "cpu",
        True,
        f"{model}, {cpu_arch()}, {cores} cores; {known}",
        {
            "model": model,
            "arch": cpu_arch(),
            "cores": cores,
            "features": None if features is None else sorted(features),
        },
    )


def _cpu_model() -> str:
    """The CPU as the system names it, or the board, or nothing."""
    names = {"model name", "Hardware", "cpu model"}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in names and value.strip():
                return value.strip()
    except OSError:
        pass
    try:
        return Path("/proc/device-tree/model").read_text().strip("\0\n ") or "unknown CPU"
    except OSError:
        return platform.processor() or "unknown CPU"


def _memory() -> Finding:
    limit = available_memory()
    total = all_memory()
    left = f"{limit.bytes / 1e9:.1f} GB left ({limit.name})" if limit else "what is left is not told"
    return Finding(
        "memory",
        True,
        f"{left} of {total / 1e9:.1f} GB" if total else left,
        {"total": total, "available": limit.bytes if limit else None},
    )


def _disk() -> Finding:
    usage = shutil.disk_usage(".")
    return Finding(
        "disk",
        True,
        f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB here",
        {"free": usage.free, "total": usage.total},
    )


_ASK_TVM = f"""
import json, sys
sys.modules["torch"] = None
import tvm
has = lambda name: tvm.get_global_func(name, allow_missing=True) is not None
print(json.dumps({{"runtimes": [n for n in {RUNTIMES!r} if has("device_api." + n)],
                  "generators": [n for n in {GENERATORS!r} if has("target.build." + n)]}}))
"""


def _tvm_runtime() -> Finding:
    version = _version("apache-tvm")
    if version is None:
        return Finding("tvm runtime", False, "apache-tvm is not installed: pip install duomem brings it")
    facts = ask_python(_ASK_TVM, {"TVM_USE_RUNTIME_LIB": "1"})
    if "error" in facts:
        return Finding("tvm runtime", False, f"{version}, but it does not load: {facts['error']}")
    return Finding("tvm runtime", True, f"{version}, runs {', '.join(facts['runtimes']) or 'nothing'}", facts)


def _tvm_compiler() -> Finding:
    specification = importlib.util.find_spec("tvm")
    folders = [Path(folder) for folder in (specification and specification.submodule_search_locations) or ()]
    if not any(next(folder.rglob("libtvm_compiler.*"), None) for folder in folders):
        return Finding("tvm compiler", False, "not here, as is right for a device: pip install apache-tvm brings it")
    facts = ask_python(_ASK_TVM, {"TVM_USE_RUNTIME_LIB": "0"})
    if "error" in facts:
        return Finding("tvm compiler", False, f"does not load: {facts['error']}")
    names = facts["generators"]
    missing = [name for name in GENERATORS if name not in names]
    text = f"generates {', '.join(names) or 'nothing'}" + (f"; not {', '.join(missing)}" if missing else "")
    return Finding("tvm compiler", bool(names), text, facts)


_ASK_VULKAN = """
import json
import tvm, duomem_vulkan
print(json.dumps({"gpus": duomem_vulkan.gpus()}))
"""


def _vulkan() -> Finding:
    plugin = importlib.util.find_spec("duomem_vulkan") is not None
    if plugin:
        facts = ask_python(_ASK_VULKAN, {"TVM_USE_RUNTIME_LIB": "1"})
        if "error" in facts:
            return Finding("vulkan", False, f"duomem-vulkan does not load: {facts['error']}", {"plugin": False})
        gpus = [{"name": str(a.get("name")), "software": bool(a.get("software"))} for a in facts["gpus"]]
        source = "duomem-vulkan"
    elif tool := shutil.which("vulkaninfo"):
        done = run_command([tool, "--summary"])
        if done.status:
            return Finding("vulkan", False, f"vulkaninfo: {done.last_line}", {"plugin": False})
        gpus, source = list(_vulkaninfo(done.output)), "vulkaninfo; duomem-vulkan is not installed"
    else:
        loader = "the loader is there, but" if _has_library("libvulkan.so.1") else "no loader found, and"
        return Finding(
            "vulkan", None, f"{loader} neither duomem-vulkan nor vulkaninfo to ask for adapters", {"plugin": False}
        )
    shown = ", ".join(f"{a['name']}{' (software)' if a['software'] else ''}" for a in gpus)
    return Finding(
        "vulkan", bool(gpus), f"{shown or 'no GPU: install its driver'} ({source})", {"plugin": plugin, "gpus": gpus}
    )


def _vulkaninfo(text: str) -> Iterator[dict[str, Any]]:
    kind = ""
    for line in said_lines(text):
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "deviceType":
            kind = value
        elif key == "deviceName":
            yield {"name": value, "software": kind.endswith("_CPU")}


_ASK_CUDA = """
import ctypes, json
from duomem.device.engine.cuda import LIBRARIES, missing_libraries
facts = {"missing": missing_libraries(), "devices": []}
if LIBRARIES[0] not in facts["missing"]:
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
        driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        facts["devices"].append({"name": name.value.decode(), "sm": f"sm_{major.value}{minor.value}"})
print(json.dumps(facts))
"""


def _cuda() -> Finding:
    facts = ask_python(_ASK_CUDA)
    if "error" in facts:
        return Finding("cuda", None, f"cannot be told: {facts['error']}")
    driver, runtime = LIBRARIES
    found = (
        f"no CUDA {MAJOR} runtime: {runtime} does not load"
        if runtime in facts["missing"]
        else (f"the CUDA {MAJOR} runtime is there")
    )
    if driver in facts["missing"]:
        return Finding("cuda", False, f"no NVIDIA driver: {driver} does not load; {found}", facts)
    devices = ", ".join(f"{d['name']} ({d['sm']})" for d in facts["devices"])
    version = f"driver for CUDA {facts['driver']}"
    if facts["status"]:
        return Finding("cuda", False, f"{version} does not start: cuInit gives {facts['status']}; {found}", facts)
    return Finding("cuda", bool(devices) and not facts["missing"], f"{devices or 'no GPU'}, {version}, {found}", facts)


def _nvcc() -> Finding:
    nvcc = find_nvcc()
    if nvcc is None:
        return Finding("nvcc", False, "not found: pip install 'duomem[cuda]', or set CUDA_HOME to a toolkit")
    return _tool("nvcc", [[str(nvcc), "--version"]], "", "release")()


def _has_library(name: str) -> bool:
    """Whether the dynamic loader finds it; tried in a process of its own."""
    return not run_command([sys.executable, "-c", f"import ctypes; ctypes.CDLL({name!r})"]).status


def _tool(name: str, commands: Iterable[list[str]], fix: str, pick: str = "") -> Callable[[], Finding]:
    """A probe for the first of `commands` that is there. pick: a word of the line that tells its version."""

    def probe() -> Finding:
        for command in commands:
            path = command[0] if os.path.isabs(command[0]) else shutil.which(command[0])
            if path is None:
                continue
            done = run_command([path, *command[1:]])
            if done.status == 0:
                lines = said_lines(done.output) + said_lines(done.error)
                line = next((line for line in lines if pick in line), done.first_line)
                return Finding(name, True, f"{line} ({path})", {"path": path})
            return Finding(name, False, f"{path}: {done.last_line}")
        return Finding(name, False, f"not found: {fix}")

    return probe


def _zig() -> Finding:
    if importlib.util.find_spec("ziglang") is not None:
        done = run_command([sys.executable, "-m", "ziglang", "version"])
        if done.status == 0:
            return Finding("zig", True, f"{done.first_line} (PyPI package ziglang)")
        return Finding("zig", False, f"the package ziglang does not run: {done.last_line}")
    return _tool("zig", [["zig", "version"]], "pip install ziglang")()


def _games() -> Finding:
    try:
        root = resolve_root(None)
    except UserError as e:
        return Finding("alfworld data", False, str(e))
    counts = {split: len(find_games(root, split)) for split in SPLITS}
    return Finding(
        "alfworld data",
        any(counts.values()),
        f"{root}: " + ", ".join(f"{n} {split}" for split, n in counts.items()),
        counts,
    )


def _packages() -> Finding:
    names = (*COMPILE_PACKAGES, "peft", "alfworld")
    versions = {name: _version(name) for name in names}
    missing = [name for name in names if versions[name] is None]
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if missing:
        text += f"{'; ' if text else ''}not installed: {', '.join(missing)} (only the host needs them)"
    return Finding("host packages", not missing, text, versions)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


CHECKS: dict[str, Callable[[], Finding]] = {
    "duomem": _duomem,
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "tvm runtime": _tvm_runtime,
    "tvm compiler": _tvm_compiler,
    "vulkan": _vulkan,
    "cuda": _cuda,
    "nvcc": _nvcc,
    "c compiler": _tool(
        "c compiler", [["c++", "--version"], ["g++", "--version"], ["clang++", "--version"]], "install g++ or clang"
    ),
    "zig": _zig,
    "qemu-aarch64-static": _tool(
        "qemu-aarch64-static", [["qemu-aarch64-static", "--version"]], "install qemu-user-static, only tests need it"
    ),
    "adb": _tool("adb", [["adb", "version"]], "install adb to deploy to Android"),
    "ssh": _tool("ssh", [["ssh", "-V"]], "install openssh-client to deploy over ssh"),
    "alfworld data": _games,
    "host packages": _packages,
}
