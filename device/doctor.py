"""What this machine has for compiling, linking and running students, and what each target still needs.

Works on a bare device: nothing is imported but to ask its version; whatever may crash or hang runs apart.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import read_toml
from duomem.device.alfworld.catalogue import SPLITS, find_games, resolve_root
from duomem.device.bundle import read_bundle
from duomem.device.cpu import cpu_arch, cpu_features
from duomem.device.preflight import available_memory, check_memory, memory_need

TARGETS = Path(__file__).resolve().parent.parent / "configs" / "targets"
TIMEOUT = 20.0
"""Seconds an external command may take; a probe has a few more."""
GENERATORS = ("llvm", "cuda", "metal", "opencl", "webgpu", "vulkan")
RUNTIMES = ("cpu", "cuda", "metal", "opencl", "webgpu", "vulkan")
_COMPILE_PACKAGES = ("torch", "transformers", "safetensors")
_LOAD_TIMEOUT = 240.0
_CUDA = "13"
"""Major version of the CUDA runtime that TVM's wheel is linked with."""


@dataclass(frozen=True)
class Finding:
    """A thing looked for. present: None where that could not be told; facts: for programs and the target table."""

    name: str
    present: bool | None
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Whether this machine can do one stage of a target; if not, why, and what to do."""

    possible: bool
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class TargetReport:
    """What this machine can do for a target. native: the target is for a CPU of this machine's family."""

    name: str
    device: str
    arch: str
    native: bool
    compile: Stage
    link: Stage
    run: Stage

    def stages(self) -> dict[str, Stage]:
        """By name, in their order."""
        return {"compile": self.compile, "link": self.link, "run": self.run}


@dataclass(frozen=True)
class Report:
    findings: tuple[Finding, ...]
    targets: tuple[TargetReport, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON value of all of it."""
        return {"findings": [{**asdict(f), "facts": dict(f.facts)} for f in self.findings],
                "targets": [asdict(t) for t in self.targets]}

    def unmet(self, wanted: str) -> list[str]:
        """What keeps TARGET or TARGET:STAGE (`wanted`) from being possible here, a line each.

        Without a stage: compile and link, and run too if the target is for this machine's CPU family.
        Raises UserError if there is no such target or stage.
        """
        name, _, stage = wanted.partition(":")
        target = next((target for target in self.targets if target.name == name), None)
        if target is None:
            known = ", ".join(target.name for target in self.targets) or "none"
            raise UserError(f"--require {wanted}: no such target: known are {known}")
        stages = target.stages()
        if stage and stage not in stages:
            raise UserError(f"--require {wanted}: no such stage: use one of {', '.join(stages)}")
        chosen = [stage] if stage else [s for s in stages if s != "run" or target.native]
        return [f"{name}: cannot {s} here: {stages[s].reason}: {stages[s].fix}" for s in chosen
                if not stages[s].possible]


def examine(targets: Path = TARGETS) -> Report:
    """Look for everything, at most about half a minute, and judge every target of the folder `targets`."""
    findings = tuple(_run_all(_PROBES))
    by_name = {finding.name: finding for finding in findings}
    return Report(findings, tuple(_judge(path, by_name) for path in sorted(targets.glob("*.toml"))))


def check_bundle(folder: Path) -> str:
    """Whether the bundle in `folder` runs here, in a few words: verified, enough memory, loaded, a token decoded.

    Loading is tried in a process of its own. Raises UserError saying what is wrong.
    """
    bundle = read_bundle(folder)
    if bundle.arch != cpu_arch():
        raise UserError(f"{folder}: is compiled for {bundle.arch}, this is {cpu_arch()}: compile it for this")
    bundle.library_for(cpu_features(), bundle.devices[-1])
    need, limit, sessions = memory_need(bundle), available_memory(), 4
    check_memory(need, limit, bundle, bundle.context_length, sessions)
    done = _command([sys.executable, "-c", _TRY_BUNDLE, str(bundle.folder.resolve()), bundle.device], _LOAD_TIMEOUT)
    if done.status:
        raise UserError(f"{folder}: does not load here: {done.last_line}")
    return (f"verified, needs {need.total / 1e6:.0f} MB of {limit.bytes / 1e6:.0f} MB, {done.last_line}"
            if limit else f"verified, needs {need.total / 1e6:.0f} MB, {done.last_line}")


_TRY_BUNDLE = """
import sys, time
from pathlib import Path
import numpy as np
from duomem.base.errors import UserError
from duomem.device.engine import TvmEngine
try:
    start = time.perf_counter()
    engine = TvmEngine.load(Path(sys.argv[1]), sys.argv[2], max_sessions=1)
    session = engine.session()
    loaded = time.perf_counter()
    logits = [session.prefill([1, 2, 3, 4]), session.decode(5)]
    first = time.perf_counter()
    logits.append(session.decode(6))
    if not all(np.isfinite(row).all() for row in logits):
        sys.exit("its logits are not finite")
    print(f"loads in {loaded - start:.1f} s, decodes a token in {(time.perf_counter() - first) * 1e3:.0f} ms")
except UserError as e:
    sys.exit(str(e))
"""


@dataclass(frozen=True)
class _Done:
    """An external command's end. status: 127 if it could not be started, 124 on a timeout."""

    status: int
    output: str
    error: str

    @property
    def first_line(self) -> str:
        return next(iter(_lines(self.output) or _lines(self.error)), "says nothing")

    @property
    def last_line(self) -> str:
        return next(reversed(_lines(self.output) if not self.status else _lines(self.error) or _lines(self.output)),
                    f"ended with exit status {self.status}")


def _lines(text: str) -> list[str]:
    """Its lines that say something, safe to print."""
    shown = ("".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines())
    return [line[:300] for line in shown if line]


def _command(command: list[str], timeout: float = TIMEOUT, environment: Mapping[str, str] | None = None) -> _Done:
    """Run a command that may be missing, broken or stuck; never raises."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
                              env={**os.environ, **(environment or {})})
    except subprocess.TimeoutExpired:
        return _Done(124, "", f"no answer in {timeout:.0f} s")
    except OSError as e:
        return _Done(127, "", e.strerror or str(e))
    error = done.stderr.decode("utf-8", "replace")
    if done.returncode < 0:
        error += f"\nended by signal {-done.returncode}"
    return _Done(done.returncode, done.stdout.decode("utf-8", "replace"), error)


def _ask_python(program: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object that a Python program prints as its last line; {"error": ...} if it does not."""
    done = _command([sys.executable, "-c", program], TIMEOUT, environment)
    try:
        value = json.loads(_lines(done.output)[-1]) if not done.status else None
    except (ValueError, IndexError):
        value = None
    return value if isinstance(value, dict) else {"error": done.last_line}


def _run_all(probes: Mapping[str, Callable[[], Finding]]) -> Iterator[Finding]:
    """Every probe's finding, in order; they run side by side, and one that raises or hangs is a finding as well."""
    found: dict[str, Finding] = {}

    def run(name: str, probe: Callable[[], Finding]) -> None:
        try:
            found[name] = probe()
        except Exception as e:
            found[name] = Finding(name, None, f"cannot be told: {type(e).__name__}: {next(iter(_lines(str(e))), '')}")

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in probes.items()]
    for thread in threads:
        thread.start()
    for thread, name in zip(threads, probes, strict=True):
        thread.join(1.5 * TIMEOUT)
        yield found.get(name, Finding(name, None, f"cannot be told: no answer in {1.5 * TIMEOUT:.0f} s"))


def _duomem() -> Finding:
    version = importlib.metadata.version("duomem")
    return Finding("duomem", True, f"{version}, Python {platform.python_version()}, {platform.platform()}",
                   {"version": version, "python": platform.python_version(), "platform": platform.platform()})


def _cpu() -> Finding:
    features = cpu_features()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = _cpu_model()
    known = " ".join(sorted(features)) if features is not None else "features unknown"
    return Finding("cpu", True, f"{model}, {cpu_arch()}, {cores} cores; {known}",
                   {"model": model, "arch": cpu_arch(), "cores": cores,
                    "features": None if features is None else sorted(features)})


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
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        total = None
    left = f"{limit.bytes / 1e9:.1f} GB left ({limit.name})" if limit else "what is left is not told"
    return Finding("memory", True, f"{left} of {total / 1e9:.1f} GB" if total else left,
                   {"total": total, "available": limit.bytes if limit else None})


def _disk() -> Finding:
    usage = shutil.disk_usage(".")
    return Finding("disk", True, f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB here",
                   {"free": usage.free, "total": usage.total})


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
    facts = _ask_python(_ASK_TVM, {"TVM_USE_RUNTIME_LIB": "1"})
    if "error" in facts:
        return Finding("tvm runtime", False, f"{version}, but it does not load: {facts['error']}")
    return Finding("tvm runtime", True, f"{version}, runs {', '.join(facts['runtimes']) or 'nothing'}", facts)


def _tvm_compiler() -> Finding:
    specification = importlib.util.find_spec("tvm")
    folders = [Path(folder) for folder in (specification and specification.submodule_search_locations) or ()]
    if not any(next(folder.rglob("libtvm_compiler.*"), None) for folder in folders):
        return Finding("tvm compiler", False, "not here, as is right for a device: pip install apache-tvm brings it")
    facts = _ask_python(_ASK_TVM, {"TVM_USE_RUNTIME_LIB": "0"})
    if "error" in facts:
        return Finding("tvm compiler", False, f"does not load: {facts['error']}")
    names = facts["generators"]
    missing = [name for name in GENERATORS if name not in names]
    text = f"generates {', '.join(names) or 'nothing'}" + (f"; not {', '.join(missing)}" if missing else "")
    return Finding("tvm compiler", bool(names), text, facts)


_ASK_VULKAN = """
import json
import tvm, duomem_vulkan
print(json.dumps({"adapters": duomem_vulkan.adapters()}))
"""


def _vulkan() -> Finding:
    plugin = importlib.util.find_spec("duomem_vulkan") is not None
    if plugin:
        facts = _ask_python(_ASK_VULKAN, {"TVM_USE_RUNTIME_LIB": "1"})
        if "error" in facts:
            return Finding("vulkan", False, f"duomem-vulkan does not load: {facts['error']}", {"plugin": False})
        adapters = [{"name": str(a.get("name")), "software": bool(a.get("software"))} for a in facts["adapters"]]
        source = "duomem-vulkan"
    elif tool := shutil.which("vulkaninfo"):
        done = _command([tool, "--summary"])
        if done.status:
            return Finding("vulkan", False, f"vulkaninfo: {done.last_line}", {"plugin": False})
        adapters, source = list(_vulkaninfo(done.output)), "vulkaninfo; duomem-vulkan is not installed"
    else:
        loader = "the loader is there, but" if _has_library("libvulkan.so.1") else "no loader found, and"
        return Finding("vulkan", None, f"{loader} neither duomem-vulkan nor vulkaninfo to ask for adapters",
                       {"plugin": False})
    shown = ", ".join(f"{a['name']}{' (software)' if a['software'] else ''}" for a in adapters)
    return Finding("vulkan", bool(adapters), f"{shown or 'no adapter: install its driver'} ({source})",
                   {"plugin": plugin, "adapters": adapters})


def _vulkaninfo(text: str) -> Iterator[dict[str, Any]]:
    kind = ""
    for line in _lines(text):
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "deviceType":
            kind = value
        elif key == "deviceName":
            yield {"name": value, "software": kind.endswith("_CPU")}


_ASK_CUDA = f"""
import ctypes, json
driver = ctypes.CDLL("libcuda.so.1")
version, count = ctypes.c_int(), ctypes.c_int()
status = driver.cuInit(0)
driver.cuDriverGetVersion(ctypes.byref(version))
devices = []
if status == 0:
    driver.cuDeviceGetCount(ctypes.byref(count))
for i in range(count.value):
    device, name, major, minor = ctypes.c_int(), ctypes.create_string_buffer(100), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), i)
    driver.cuDeviceGetName(name, 100, device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
    devices.append({{"name": name.value.decode(), "sm": f"sm_{{major.value}}{{minor.value}}"}})
try:
    ctypes.CDLL("libcudart.so.{_CUDA}")
    runtime = True
except OSError:
    runtime = False
print(json.dumps({{"status": status, "driver": f"{{version.value // 1000}}.{{version.value % 1000 // 10}}",
                  "devices": devices, "runtime": runtime}}))
"""


def _cuda() -> Finding:
    facts = _ask_python(_ASK_CUDA)
    if "error" in facts:
        return Finding("cuda", False, "no NVIDIA driver: libcuda.so.1 does not load")
    devices = ", ".join(f"{d['name']} ({d['sm']})" for d in facts["devices"])
    runtime = f"runtime {_CUDA} is there" if facts["runtime"] else f"no runtime: libcudart.so.{_CUDA} does not load"
    driver = f"driver for CUDA {facts['driver']}"
    if facts["status"]:
        return Finding("cuda", False, f"{driver} does not start: cuInit gives {facts['status']}; {runtime}", facts)
    return Finding("cuda", bool(devices) and facts["runtime"], f"{devices or 'no GPU'}, {driver}, {runtime}", facts)


def _has_library(name: str) -> bool:
    """Whether the dynamic loader finds it; tried in a process of its own."""
    return not _command([sys.executable, "-c", f"import ctypes; ctypes.CDLL({name!r})"]).status


def _tool(name: str, commands: Iterable[list[str]], fix: str, pick: str = "") -> Callable[[], Finding]:
    """A probe for the first of `commands` that is there. pick: a word of the line that tells its version."""

    def probe() -> Finding:
        for command in commands:
            path = command[0] if os.path.isabs(command[0]) else shutil.which(command[0])
            if path is None:
                continue
            done = _command([path, *command[1:]])
            if done.status == 0:
                lines = _lines(done.output) + _lines(done.error)
                line = next((line for line in lines if pick in line), done.first_line)
                return Finding(name, True, f"{line} ({path})", {"path": path})
            return Finding(name, False, f"{path}: {done.last_line}")
        return Finding(name, False, f"not found: {fix}")

    return probe


def _zig() -> Finding:
    if importlib.util.find_spec("ziglang") is not None:
        done = _command([sys.executable, "-m", "ziglang", "version"])
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
    return Finding("alfworld data", any(counts.values()),
                   f"{root}: " + ", ".join(f"{n} {split}" for split, n in counts.items()), counts)


def _packages() -> Finding:
    names = (*_COMPILE_PACKAGES, "peft", "alfworld")
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


_PROBES: dict[str, Callable[[], Finding]] = {
    "duomem": _duomem,
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "tvm runtime": _tvm_runtime,
    "tvm compiler": _tvm_compiler,
    "vulkan": _vulkan,
    "cuda": _cuda,
    "nvcc": _tool("nvcc", [["nvcc", "--version"]], "install the CUDA toolkit", "release"),
    "c compiler": _tool("c compiler", [["c++", "--version"], ["g++", "--version"], ["clang++", "--version"]],
                        "install g++ or clang"),
    "zig": _zig,
    "qemu-aarch64-static": _tool("qemu-aarch64-static", [["qemu-aarch64-static", "--version"]],
                                 "install qemu-user-static, only tests need it"),
    "adb": _tool("adb", [["adb", "version"]], "install adb to deploy to Android"),
    "ssh": _tool("ssh", [["ssh", "-V"]], "install openssh-client to deploy over ssh"),
    "alfworld data": _games,
    "host packages": _packages,
}


def _judge(path: Path, found: Mapping[str, Finding]) -> TargetReport:
    """What this machine can do for the target of the file `path`, by what was found."""
    try:
        value = read_toml(path, "target file")
        arch = cpu_arch() if value["arch"] == "native" else str(value["arch"])
        name, device, link = str(value["name"]), str(value["device"]), str(value.get("link", ""))
        needed = [frozenset(map(str, entry.get("cpu_features", ()))) for entry in value.get("baselines", ())]
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as e:
        text = str(e) if isinstance(e, UserError) else f"{path}: not a target file ({type(e).__name__}: {e})"
        broken = Stage(False, " ".join(text.split()), "compare the file with host.toml")
        return TargetReport(path.stem, "?", "?", False, broken, broken, broken)
    native = arch == cpu_arch()
    kinds = set(_values(value, "kind")) | {_GENERATOR_OF.get(device, device)}
    return TargetReport(name, device, arch, native, _can_compile(kinds, found), _can_link(link, native, found),
                        _can_run(device, arch, native, needed, found))


_GENERATOR_OF = {"cpu": "llvm", "vulkan": "webgpu"}
"""TVM's code generator for a device, where it has another name."""


def _values(value: Any, key: str) -> Iterator[str]:
    """Every text under `key`, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get(key), str):
            yield value[key]
        for inner in value.values():
            yield from _values(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, key)


def _can_compile(kinds: set[str], found: Mapping[str, Finding]) -> Stage:
    packages = found["host packages"].facts
    if missing := [name for name in _COMPILE_PACKAGES if not packages.get(name)]:
        return Stage(False, f"{', '.join(missing)} not installed", "pip install 'duomem[compile]'")
    compiler = found["tvm compiler"]
    if not compiler.present:
        return Stage(False, f"TVM's compiler: {compiler.text}", "pip install --force-reinstall apache-tvm")
    if missing := sorted(kinds - set(compiler.facts["generators"])):
        return Stage(False, f"TVM has no code generator for {', '.join(missing)}", "use a TVM built with it")
    if "cuda" in kinds and not found["nvcc"].present:
        return Stage(False, f"nvcc: {found['nvcc'].text}", f"install the CUDA {_CUDA} toolkit")
    return Stage(True)


def _can_link(link: str, native: bool, found: Mapping[str, Finding]) -> Stage:
    if link or not native:
        zig = found["zig"]
        return Stage(True) if zig.present else Stage(False, f"zig: {zig.text}", "pip install ziglang")
    compiler = found["c compiler"]
    return Stage(True) if compiler.present else Stage(False, f"no C++ compiler: {compiler.text}", "install g++")


def _can_run(device: str, arch: str, native: bool, needed: list[frozenset[str]], found: Mapping[str, Finding]) -> Stage:
    if not native:
        return Stage(False, f"it is for {arch}, this is {cpu_arch()}", "duomem deploy its bundle to such a device")
    runtime = found["tvm runtime"]
    if not runtime.present:
        return Stage(False, f"TVM's runtime: {runtime.text}", "pip install duomem")
    if device == "cpu":
        features = cpu_features()
        lacking = sorted((sorted(needs - features) for needs in needed), key=len) if features is not None else []
        if lacking and lacking[0]:
            return Stage(False, f"this CPU has no {', '.join(lacking[0])}",
                         "compile for a target with an older baseline, or --target host here")
        return Stage(True)
    if device == "cuda":
        cuda = found["cuda"]
        return Stage(True) if cuda.present else Stage(False, cuda.text, f"install NVIDIA's driver and CUDA {_CUDA} "
                                                      "(JetPack 7 on a Jetson)")
    if device in ("vulkan", "webgpu"):
        return _can_run_vulkan(found["vulkan"])
    if device in runtime.facts["runtimes"]:
        return Stage(True)
    return Stage(False, f"TVM's runtime here has no {device}", "run it on a device that has, or use the CPU target")


def _can_run_vulkan(vulkan: Finding) -> Stage:
    if not vulkan.facts.get("plugin"):
        return Stage(False, f"no duomem-vulkan: {vulkan.text}", "install the wheel duomem-vulkan of the bundle")
    adapters = vulkan.facts["adapters"]
    if not adapters:
        return Stage(False, "no Vulkan adapter", "install the GPU's Vulkan driver")
    if all(adapter["software"] for adapter in adapters):
        return Stage(False, f"only a software rasteriser: {adapters[0]['name']}",
                     "install the GPU's Vulkan driver, or use the CPU target, which is faster")
    return Stage(True)
