"""What this machine can do for each target, by what the checks find: compile, link, run; if not, why, and the fix.

Works on a bare device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from duomem.configs import target_files
from duomem.core.cpu import cpu_arch, cpu_features
from duomem.core.errors import UserError
from duomem.core.files import read_toml
from duomem.device.doctor.checks import CHECKS, COMPILE_PACKAGES, Finding, run_all
from duomem.device.engine.cuda import JETPACK, MAJOR


@dataclass(frozen=True)
class Stage:
    """Whether this machine can do one stage of a target; if not, why, and what to do."""

    possible: bool
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class TargetReport:
    """What this machine can do for a target. native: the target is for a CPU of this machine's architecture."""

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
        return {
            "findings": [{**asdict(f), "facts": dict(f.facts)} for f in self.findings],
            "targets": [asdict(t) for t in self.targets],
        }

    def unmet(self, wanted: str) -> list[str]:
        """What keeps TARGET or TARGET:STAGE (`wanted`) from being possible here, a line each.

        Without a stage: compile and link, and run too if the target is for this machine's CPU architecture.
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
        return [
            f"{name}: cannot {s} here: {stages[s].reason}: {stages[s].fix}" for s in chosen if not stages[s].possible
        ]


def examine(targets: Sequence[Path] | None = None) -> Report:
    """Look for everything, at most about half a minute, and judge every target, or those of the files `targets`."""
    findings = tuple(run_all(CHECKS))
    by_name = {finding.name: finding for finding in findings}
    return Report(
        findings, tuple(_judge(path, by_name) for path in (target_files().values() if targets is None else targets))
    )


def _judge(path: Path, found: Mapping[str, Finding]) -> TargetReport:
    """What this machine can do for the target of the file `path`, by what was found."""
    try:
        value = read_toml(path, "target file")
        arch = cpu_arch() if value["arch"] == "native" else str(value["arch"])
        name, device, link = str(value["name"]), str(value["device"]), str(value.get("link", ""))
        needed = [frozenset(map(str, entry.get("cpu_features", ()))) for entry in value.get("variants", ())]
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as e:
        text = str(e) if isinstance(e, UserError) else f"{path}: not a target file ({type(e).__name__}: {e})"
        broken = Stage(False, " ".join(text.split()), "compare the file with host.toml")
        return TargetReport(path.stem, "?", "?", False, broken, broken, broken)
    native = arch == cpu_arch()
    return TargetReport(
        name,
        device,
        arch,
        native,
        _can_compile(set(_values(value, "kind")), found),
        _can_link(link, native, found),
        _can_run(device, arch, native, needed, found),
    )


def _values(value: Any, key: str) -> Iterator[str]:
    """Every text under `key`, at any depth: under "kind" the code generators that a target's variants need."""
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
    if missing := [name for name in COMPILE_PACKAGES if not packages.get(name)]:
        return Stage(False, f"{', '.join(missing)} not installed", "pip install 'duomem[compile]'")
    compiler = found["tvm compiler"]
    if not compiler.present:
        return Stage(False, f"TVM's compiler: {compiler.text}", "pip install --force-reinstall apache-tvm")
    if missing := sorted(kinds - set(compiler.facts["generators"])):
        return Stage(False, f"TVM has no code generator for {', '.join(missing)}", "use a TVM built with it")
    if "cuda" in kinds and not found["nvcc"].present:
        return Stage(
            False, f"nvcc: {found['nvcc'].text}", f"pip install 'duomem[cuda]', or install the CUDA {MAJOR} toolkit"
        )
    return Stage(True)


def _can_link(link: str, native: bool, found: Mapping[str, Finding]) -> Stage:
    if link or not native:
        zig = found["zig"]
        return Stage(True) if zig.present else Stage(False, f"zig: {zig.text}", "pip install ziglang")
    compiler = found["c compiler"]
    return Stage(True) if compiler.present else Stage(False, f"no C++ compiler: {compiler.text}", "install g++")


def _can_run(device: str, arch: str, native: bool, needed: list[frozenset[str]], found: Mapping[str, Finding]) -> Stage:
    if device == "ios":
        return Stage(False, "iOS runs it inside an app", "link its library into one, with TVM's runtime")
    if not native:
        return Stage(
            False,
            f"it is for {arch}, this is {cpu_arch()}",
            "bring its bundle to such a device with duomem deploy push",
        )
    runtime = found["tvm runtime"]
    if not runtime.present:
        return Stage(False, f"TVM's runtime: {runtime.text}", "pip install duomem")
    if device == "cpu":
        features = cpu_features()
        lacking = sorted((sorted(needs - features) for needs in needed), key=len) if features is not None else []
        if lacking and lacking[0]:
            return Stage(
                False,
                f"this CPU has no {', '.join(lacking[0])}",
                "compile for a target with an older CPU, or --target host here",
            )
        return Stage(True)
    if device == "cuda":
        cuda = found["cuda"]
        return (
            Stage(True)
            if cuda.present
            else Stage(False, cuda.text, f"install NVIDIA's driver and CUDA {MAJOR} ({JETPACK} on a Jetson)")
        )
    if device in ("vulkan", "webgpu"):
        return _can_run_vulkan(found["vulkan"])
    if device in runtime.facts["runtimes"]:
        return Stage(True)
    return Stage(False, f"TVM's runtime here has no {device}", "run it on a device that has, or use the CPU target")


def _can_run_vulkan(vulkan: Finding) -> Stage:
    if not vulkan.facts.get("plugin"):
        return Stage(False, f"no duomem-vulkan: {vulkan.text}", "install the wheel duomem-vulkan of the bundle")
    gpus = vulkan.facts["gpus"]
    if not gpus:
        return Stage(False, "no GPU with a Vulkan driver", "install the GPU's Vulkan driver")
    if all(gpu["software"] for gpu in gpus):
        return Stage(
            False,
            f"only a software rasteriser: {gpus[0]['name']}",
            "install the GPU's Vulkan driver, or use the CPU target, which is faster",
        )
    return Stage(True)
