"""What the doctor looks for on this machine: one check a thing, each a Finding, whatever is missing or broken.

Nothing is imported but to ask its version; whatever may crash or hang runs apart.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duomem.core.cpu import board_name, cpu_arch, cpu_features, cpu_name, usable_cores
from duomem.core.errors import UserError
from duomem.core.memory import all_memory, available_memory
from duomem.core.process import TIMEOUT, ask_module, python_module, run, said_lines
from duomem.device.alfworld.game_files import SPLITS, find_games, resolve_root
from duomem.device.doctor.ask import GENERATORS
from duomem.device.engine.cuda import LIBRARIES, MAJOR, find_nvcc
from duomem.device.engine.tvm_runtime import RUNTIME_ONLY

COMPILE_PACKAGES = ("torch", "transformers", "safetensors")


@dataclass(frozen=True)
class Finding:
    """A thing looked for. present: None where that could not be told; facts: for programs and the target table."""

    name: str
    present: bool | None
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def run_all(checks: Mapping[str, Callable[[], Finding]]) -> Iterator[Finding]:
    """Every check's finding, in order; they run side by side, and one that raises or hangs is a finding as well."""
    found: dict[str, Finding] = {}

    def look(name: str, check: Callable[[], Finding]) -> None:
        try:
            found[name] = check()
        except Exception as e:
            said = next(iter(said_lines(str(e))), "")
            found[name] = Finding(name, None, f"cannot be told: {type(e).__name__}: {said}")

    threads = [threading.Thread(target=look, args=item, daemon=True) for item in checks.items()]
    for thread in threads:
        thread.start()
    for thread, name in zip(threads, checks, strict=True):
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
    features, cores, name, board = cpu_features(), usable_cores(), cpu_name(), board_name()
    known = " ".join(sorted(features)) if features is not None else "features unknown"
    shown = name if board in (None, name) else f"{name} ({board})"
    return Finding(
        "cpu",
        True,
        f"{shown}, {cpu_arch()}, {cores} cores; {known}",
        {
            "model": name,
            "board": board,
            "arch": cpu_arch(),
            "cores": cores,
            "features": None if features is None else sorted(features),
        },
    )


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


def _ask(topic: str, runtime_only: str) -> dict[str, Any]:
    """What `doctor.ask` says of `topic`, or {"error": reason}. runtime_only: "1" leaves TVM's compiler out."""
    return ask_module("duomem.device.doctor.ask", topic, environment={RUNTIME_ONLY: runtime_only})


def _tvm_runtime() -> Finding:
    version = _version("apache-tvm")
    if version is None:
        return Finding("tvm runtime", False, "apache-tvm is not installed: pip install duomem brings it")
    facts = _ask("tvm", "1")
    if "error" in facts:
        return Finding("tvm runtime", False, f"{version}, but it does not load: {facts['error']}")
    return Finding("tvm runtime", True, f"{version}, runs {', '.join(facts['runtimes']) or 'nothing'}", facts)


def _tvm_compiler() -> Finding:
    specification = importlib.util.find_spec("tvm")
    folders = [Path(folder) for folder in (specification and specification.submodule_search_locations) or ()]
    if not any(next(folder.rglob("libtvm_compiler.*"), None) for folder in folders):
        return Finding("tvm compiler", False, "not here, as is right for a device: pip install apache-tvm brings it")
    facts = _ask("tvm", "0")
    if "error" in facts:
        return Finding("tvm compiler", False, f"does not load: {facts['error']}")
    names = facts["generators"]
    missing = [name for name in GENERATORS if name not in names]
    text = f"generates {', '.join(names) or 'nothing'}" + (f"; not {', '.join(missing)}" if missing else "")
    return Finding("tvm compiler", bool(names), text, facts)


def _vulkan() -> Finding:
    plugin = importlib.util.find_spec("duomem_vulkan") is not None
    if plugin:
        facts = _ask("vulkan", "1")
        if "error" in facts:
            return Finding("vulkan", False, f"duomem-vulkan does not load: {facts['error']}", {"plugin": False})
        gpus, source = facts["gpus"], "duomem-vulkan"
    elif tool := shutil.which("vulkaninfo"):
        done = run([tool, "--summary"])
        if done.status:
            return Finding("vulkan", False, f"vulkaninfo: {done.last_line}", {"plugin": False})
        gpus, source = list(_vulkaninfo(done.output)), "vulkaninfo; duomem-vulkan is not installed"
    else:
        found = _ask("vulkan-loader", "1").get("loads")
        loader = "the loader is there, but" if found else "no loader found, and"
        return Finding(
            "vulkan", None, f"{loader} neither duomem-vulkan nor vulkaninfo to ask for GPUs", {"plugin": False}
        )
    shown = ", ".join(f"{gpu['name']}{' (software)' if gpu['software'] else ''}" for gpu in gpus)
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


def _cuda() -> Finding:
    facts = _ask("cuda", "1")
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


def _tool(name: str, commands: Iterable[list[str]], fix: str, pick: str = "") -> Callable[[], Finding]:
    """A check for the first of `commands` that is there. pick: a word of the line that tells its version."""

    def check() -> Finding:
        for command in commands:
            path = command[0] if os.path.isabs(command[0]) else shutil.which(command[0])
            if path is None:
                continue
            done = run([path, *command[1:]])
            if done.status == 0:
                lines = said_lines(done.output) + said_lines(done.error)
                line = next((line for line in lines if pick in line), done.first_line)
                return Finding(name, True, f"{line} ({path})", {"path": path})
            return Finding(name, False, f"{path}: {done.last_line}")
        return Finding(name, False, f"not found: {fix}")

    return check


def _zig() -> Finding:
    if importlib.util.find_spec("ziglang") is not None:
        done = run(python_module("ziglang", "version"))
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
