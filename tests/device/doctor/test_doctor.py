"""The doctor on machines that lack, hide or break things: always a report, and a reason with a fix for each no."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle

from duomem.configs import target_files
from duomem.core import process
from duomem.core.cpu import cpu_arch, cpu_features
from duomem.core.errors import UserError
from duomem.device.doctor import checks, doctor
from duomem.device.doctor.checks import Finding
from duomem.device.doctor.doctor import Report, Stage, TargetReport, examine
from duomem.device.engine import cuda
from duomem.device.engine.self_check import check_bundle

GOOD = {
    "tvm runtime": Finding("tvm runtime", True, "", {"runtimes": ["cpu", "cuda"], "generators": []}),
    "tvm compiler": Finding("tvm compiler", True, "", {"generators": ["llvm", "cuda", "metal", "opencl", "webgpu"]}),
    "vulkan": Finding("vulkan", True, "", {"plugin": True, "gpus": [{"name": "Mali", "software": False}]}),
    "cuda": Finding("cuda", True, ""),
    "nvcc": Finding("nvcc", True, ""),
    "c compiler": Finding("c compiler", True, ""),
    "zig": Finding("zig", True, ""),
    "host packages": Finding("host packages", True, "", {"torch": "2", "transformers": "5", "safetensors": "0"}),
}
OTHER = "aarch64" if cpu_arch() == "x86_64" else "x86_64"


def _program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def _target(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return path


def _judge(
    tmp_path: Path,
    device: str = "cpu",
    arch: str = "native",
    features: tuple[str, ...] = (),
    link: str = "",
    **missing: Finding,
) -> TargetReport:
    found = {**GOOD, **{name.replace("_", " "): finding for name, finding in missing.items()}}
    kind = {"vulkan": "webgpu"}.get(device, device)
    text = (
        f'name = "t"\ndevice = "{device}"\narch = "{arch}"\nlink = "{link}"\n[[variants]]\nname = "b"\n'
        f'cpu_features = {json.dumps(features)}\nllvm = {{ kind = "llvm" }}\n'
        + (f'gpu = {{ kind = "{kind}" }}\n' if device != "cpu" else "")
    )
    return doctor._judge(_target(tmp_path, text), found)


def test_this_machine_is_reported_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    report = examine()
    assert [finding.name for finding in report.findings] == list(checks.CHECKS)
    assert all(finding.text and "\n" not in finding.text for finding in report.findings)
    by_name = {finding.name: finding for finding in report.findings}
    assert by_name["cpu"].facts["arch"] == cpu_arch() and by_name["tvm runtime"].facts["runtimes"][0] == "cpu"
    assert "cpu" in by_name["tvm runtime"].text and by_name["disk"].facts["free"] > 0
    names = [target.name for target in report.targets]
    assert "host" in names and names == list(target_files())
    for target in report.targets:
        for stage in target.stages().values():
            assert stage.possible == (not stage.reason) == (not stage.fix)
    assert json.loads(json.dumps(report.to_json()))["targets"][0]["compile"].keys() == {"possible", "reason", "fix"}


def test_with_nothing_installed_and_nothing_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base install on a bare device: nothing of the host, no tool at all, no games."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    version = checks._version
    monkeypatch.setattr(checks, "_version", lambda name: version(name) if name == "apache-tvm" else None)
    report = examine()
    by_name = {finding.name: finding for finding in report.findings}
    for name in ("nvcc", "c compiler", "zig", "qemu-aarch64-static", "adb", "ssh"):
        assert by_name[name].present is False and by_name[name].text.startswith("not found: "), name
    assert by_name["tvm compiler"].present is False and "not here" in by_name["tvm compiler"].text
    assert by_name["vulkan"].present is None and "nor vulkaninfo" in by_name["vulkan"].text
    assert by_name["alfworld data"].present is False and "games generate" in by_name["alfworld data"].text
    host = next(target for target in report.targets if target.name == "host")
    assert not host.compile.possible and "duomem[compile]" in host.compile.fix
    assert not host.link.possible and host.run.possible


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", "ended with exit status 3"),
        ("echo broken >&2; exit 1", "broken"),
        ("printf '\\033]0;evil\\007\\377x\\n' >&2; exit 1", "]0;evil"),
        ("kill -SEGV $$", "ended by signal 11"),
        ("sleep 60", "no answer in 1 s"),
    ],
)
def test_broken_tools_become_lines(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvcc", "adb", "ssh", "c++", "vulkaninfo", "qemu-aarch64-static"):
        _program(tmp_path, name, f"PATH={os.environ['PATH']}\n{text}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process, "TIMEOUT", 1.0)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    started = time.monotonic()
    for name in ("nvcc", "adb", "ssh", "c compiler", "qemu-aarch64-static"):
        [finding] = checks.run_all({name: checks.CHECKS[name]})
        assert finding.present is False and said in finding.text and finding.text.isprintable()
    assert time.monotonic() - started < 30


def test_a_tool_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adb").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = checks.CHECKS["adb"]()
    assert finding.present is False and str(tmp_path / "adb") in finding.text


def test_checks_that_raise_or_hang_become_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def bad() -> Finding:
        raise RuntimeError("first\nsecond")

    def stuck() -> Finding:
        time.sleep(60)
        raise AssertionError

    monkeypatch.setattr(checks, "TIMEOUT", 0.2)
    good = Finding("good", True, "well")
    found = list(checks.run_all({"bad": bad, "stuck": stuck, "good": lambda: good}))
    assert [f.present for f in found] == [None, None, True]
    assert "RuntimeError: first" in found[0].text and "no answer" in found[1].text and found[2] is good


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import sys; sys.exit('no such thing')", "no such thing"),
        ("print('[1]')", "[1]"),
        ("", "exit status 0"),
        ("print('{')", "{"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
    ],
)
def test_a_program_that_answers_wrong(
    program: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "answers_wrong.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert error in process.ask_module("answers_wrong")["error"]


def test_tvm_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tvm").mkdir()
    (tmp_path / "tvm" / "__init__.py").write_text("raise OSError('libtvm_runtime.so: wrong ELF class')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    finding = checks._tvm_runtime()
    assert finding.present is False and "does not load: OSError: libtvm_runtime.so: wrong ELF class" in finding.text


def test_nvcc_is_looked_for_where_the_compile_stage_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$CUDA_HOME before PATH; found there, it is enough to compile for CUDA."""
    for folder, release in (("toolkit/bin", "13.0"), ("path", "11.8")):
        (tmp_path / folder).mkdir(parents=True)
        _program(tmp_path / folder, "nvcc", f"echo 'Cuda compilation tools, release {release}'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
    finding = checks.CHECKS["nvcc"]()
    assert finding.present and "release 13.0" in finding.text
    assert finding.facts["path"] == str(cuda.find_nvcc()) == str(tmp_path / "toolkit/bin/nvcc")


def _no_cuda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's libraries do not load here, nor in processes started from here, even where they are installed."""
    for name in cuda.LIBRARIES:
        (folder / name).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))


@pytest.mark.parametrize(
    ("found", "present", "said"),
    [
        ([], False, "no NVIDIA driver: libcuda.so.1 does not load; no CUDA 13 runtime: libcudart.so.13 does not load"),
        (["libcudart.so.13"], False, "no NVIDIA driver: libcuda.so.1 does not load; the CUDA 13 runtime is there"),
        (
            ["libcuda.so.1"],
            False,
            "Orin (sm_87), driver for CUDA 13.0, no CUDA 13 runtime: libcudart.so.13 does not load",
        ),
        (["libcuda.so.1", "libcudart.so.13"], True, "Orin (sm_87), driver for CUDA 13.0, the CUDA 13 runtime is there"),
    ],
)
def test_cuda_by_its_libraries(
    found: list[str], present: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVIDIA's libraries are played by small ones made here."""
    source = tmp_path / "driver.c"
    source.write_text("""#include <string.h>
        int cuInit(unsigned f) { return 0; }
        int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
        int cuDeviceGetCount(int *n) { *n = 1; return 0; }
        int cuDeviceGet(int *d, int i) { *d = i; return 0; }
        int cuDeviceGetName(char *name, int size, int d) { strcpy(name, "Orin"); return 0; }
        int cuDeviceGetAttribute(int *value, int which, int d) { *value = which == 75 ? 8 : 7; return 0; }""")
    _no_cuda(tmp_path, monkeypatch)
    for name in found:
        subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", tmp_path / name, source], check=True)
    finding = checks._cuda()
    assert (finding.present, finding.text) == (present, said)


def test_gpus_by_vulkaninfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = checks.importlib.util.find_spec
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda n: None if n == "duomem_vulkan" else find(n))
    _program(
        tmp_path,
        "vulkaninfo",
        "cat <<'E'\nDevices:\nGPU0:\n\tdeviceType         = PHYSICAL_DEVICE_TYPE_CPU\n"
        "\tdeviceName         = llvmpipe (LLVM 15)\nGPU1:\n\tdeviceType = PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU\n"
        "\tdeviceName = V3D 7.1\nE",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    finding = checks._vulkan()
    assert finding.facts == {
        "plugin": False,
        "gpus": [{"name": "llvmpipe (LLVM 15)", "software": True}, {"name": "V3D 7.1", "software": False}],
    }
    assert "llvmpipe (LLVM 15) (software), V3D 7.1" in finding.text and "duomem-vulkan is not installed" in finding.text


def test_all_is_possible_where_all_is_there(tmp_path: Path) -> None:
    for device in ("cpu", "cuda", "vulkan", "webgpu"):
        stages = _judge(tmp_path, device).stages()
        assert all(stage == Stage(True) for stage in stages.values()), (device, stages)


@pytest.mark.parametrize("path", target_files().values(), ids=target_files())
def test_every_shipped_target_can_be_compiled_where_all_is_there(path: Path) -> None:
    """iOS too, whose kernels are Metal's."""
    assert doctor._judge(path, GOOD).compile == Stage(True)


@pytest.mark.parametrize(
    ("stage", "arguments", "missing", "reason", "fix"),
    [
        (
            "compile",
            {},
            {"host_packages": Finding("", False, "", {"torch": "2"})},
            "transformers, safetensors not",
            "duomem[compile]",
        ),
        ("compile", {}, {"tvm_compiler": Finding("", False, "gone")}, "compiler: gone", "apache-tvm"),
        ("compile", {}, {"tvm_compiler": Finding("", None, "cannot be told: X")}, "cannot be told", "apache-tvm"),
        (
            "compile",
            {"device": "metal"},
            {"tvm_compiler": Finding("", True, "", {"generators": ["llvm"]})},
            "no code generator for metal",
            "TVM",
        ),
        (
            "compile",
            {"device": "vulkan"},
            {"tvm_compiler": Finding("", True, "", {"generators": ["llvm"]})},
            "no code generator for webgpu",
            "TVM",
        ),
        ("compile", {"device": "cuda"}, {"nvcc": Finding("", False, "not found")}, "nvcc: not found", "CUDA 13"),
        ("link", {}, {"c_compiler": Finding("", False, "none")}, "no C++ compiler", "g++"),
        ("link", {"arch": OTHER}, {"zig": Finding("", False, "none")}, "zig: none", "ziglang"),
        ("link", {"link": "x86_64-linux-gnu.2.28"}, {"zig": Finding("", False, "none")}, "zig: none", "ziglang"),
        ("run", {"arch": OTHER}, {}, f"it is for {OTHER}", "duomem deploy"),
        ("run", {}, {"tvm_runtime": Finding("", False, "broken")}, "runtime: broken", "pip install"),
        ("run", {"features": ("sse9", "warp")}, {}, "this CPU has no sse9, warp", "older CPU"),
        ("run", {"device": "cuda"}, {"cuda": Finding("", False, "no NVIDIA driver")}, "no NVIDIA driver", "JetPack 7"),
        ("run", {"device": "vulkan"}, {"vulkan": Finding("", None, "neither")}, "no duomem-vulkan", "wheel"),
        (
            "run",
            {"device": "vulkan"},
            {"vulkan": Finding("", False, "", {"plugin": True, "gpus": []})},
            "no GPU with a Vulkan driver",
            "driver",
        ),
        (
            "run",
            {"device": "vulkan"},
            {"vulkan": Finding("", True, "", {"plugin": True, "gpus": [{"name": "llvmpipe", "software": True}]})},
            "only a software rasteriser: llvmpipe",
            "CPU target",
        ),
        ("run", {"device": "metal"}, {}, "has no metal", "CPU target"),
        ("run", {"device": "ios"}, {}, "inside an app", "TVM's runtime"),
    ],
)
def test_a_no_has_a_reason_and_a_fix(
    stage: str, arguments: dict[str, Any], missing: dict[str, Finding], reason: str, fix: str, tmp_path: Path
) -> None:
    found = _judge(tmp_path, **arguments, **missing).stages()[stage]
    assert not found.possible and reason in found.reason and fix in found.fix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = ",
        'name = "x"\ndevice = "cpu"\n',
        'name = "x"\ndevice = "cpu"\narch = "x"\nvariants = 3\n',
        'name = "x"\ndevice = "cpu"\narch = "x"\nvariants = [1]\n',
        "\x00",
    ],
)
def test_a_broken_target_file_is_a_row(text: str, tmp_path: Path) -> None:
    row = doctor._judge(_target(tmp_path, text), GOOD)
    assert row.name == "t" and not any(stage.possible for stage in row.stages().values())
    assert "t.toml" in row.compile.reason


def test_what_is_required(tmp_path: Path) -> None:
    here, there = _judge(tmp_path), dataclasses.replace(_judge(tmp_path, arch=OTHER), name="other")
    report = Report((), (here, there))
    assert report.unmet("t") == report.unmet("t:run") == report.unmet("other") == []
    [line] = report.unmet("other:run")
    assert line.startswith(f"other: cannot run here: it is for {OTHER}") and line.endswith(
        "to such a device with duomem deploy push"
    )
    for wrong in ("absent", "t:install", ""):
        with pytest.raises(UserError, match=f"--require {wrong}: no such"):
            report.unmet(wrong)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, json\nfrom duomem.device.doctor.doctor import examine\nexamine()\n"
        "print([m for m in ('torch', 'transformers', 'peft', 'tvm', 'alfworld') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_bundle_that_runs_here(tiny_bundle: Path) -> None:
    text = check_bundle(tiny_bundle)
    assert text.startswith("verified, needs ") and "decodes a token in" in text and text.endswith(" ms on cpu")


def test_a_gpu_that_is_passed_over_is_named(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_cuda(tmp_path, monkeypatch)
    folder = tmp_path / "b"
    shutil.copytree(tiny_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    [library] = manifest["target"]["libraries"]
    shutil.copyfile(folder / library["file"], folder / "lib/cuda.so")
    manifest["files"]["lib/cuda.so"] = manifest["files"][library["file"]]
    manifest["target"]["libraries"].insert(0, {**library, "file": "lib/cuda.so", "device": "cuda"})
    (folder / "bundle.json").write_text(json.dumps(manifest))
    text = check_bundle(folder)
    assert text.startswith("verified, needs ") and text.endswith(
        " ms on cpu (device cuda: none here: it needs an NVIDIA GPU, its driver and the CUDA 13 runtime (JetPack 7 on "
        "a Jetson); libcuda.so.1 and libcudart.so.13 do not load here; going on with cpu)"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda m: m["target"].update(arch=OTHER), f"is compiled for {OTHER}"),
        (lambda m: m["target"]["libraries"][0].update(cpu_features=["warp"]), "needs a CPU with warp"),
        (lambda m: m["context"].update(kv_bytes_per_token=1 << 40), "MB of memory"),
        (lambda m: None, "does not load here: "),
    ],
)
def test_a_bundle_that_does_not(damage: Callable[[dict[str, Any]], None], said: str, tmp_path: Path) -> None:
    if "warp" in said and cpu_features() is None:
        pytest.skip("this system does not list its CPU's features")
    folder = write_bundle(tmp_path / "b")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["target"]["arch"] = cpu_arch()
    damage(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=said) as e:
        check_bundle(folder)
    assert "Traceback" not in str(e.value)
