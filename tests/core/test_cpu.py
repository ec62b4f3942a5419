"""What this process may run, asked of synthetic CPUs, and which library each of them is given."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from duomem.compile.library.target import load_target
from duomem.core import cpu
from duomem.core.errors import UserError
from duomem.device.engine.bundle import Bundle

HASWELL = "avx avx2 fma f16c bmi1 bmi2 abm movbe popcnt sse4_1 sse4_2"
AVX512 = f"{HASWELL} avx512f avx512dq avx512bw avx512vl avx512cd"
ICE_LAKE = f"{AVX512} avx512_vnni gfni vaes vpclmulqdq sha_ni avx512ifma avx512vbmi"
SAPPHIRE_RAPIDS = f"{ICE_LAKE} avx512_bf16 avx_vnni amx_tile amx_int8 amx_bf16"


def x86_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, amx: bool = True) -> frozenset[str] | None:
    """cpu_features() on an x86-64 Linux whose /proc/cpuinfo lists `flags`, and that grants AMX or not."""
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu sse sse2 {flags}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(cpu.sys, "platform", "linux")
    monkeypatch.setattr(cpu, "_request_amx", lambda: amx)
    return cpu.cpu_features()


def bundle_of(target_name: str) -> Bundle:
    target = load_target(target_name)
    libraries = [
        {
            "file": target.library(variant),
            "mcpu": "any",
            "activations": "exact",
            "cpu_features": list(variant.cpu_features),
        }
        for variant in target.variants
    ]
    return Bundle(Path("b"), {"target": {"arch": target.arch, "device": target.device, "libraries": libraries}})


@pytest.mark.parametrize(
    ("flags", "amx", "variant"),
    [
        (HASWELL, True, "avx2"),
        (AVX512, True, "avx2"),  # Skylake-X: no VNNI
        (ICE_LAKE, True, "avx512_vnni"),
        (SAPPHIRE_RAPIDS, True, "amx"),
        (SAPPHIRE_RAPIDS, False, "avx512_vnni"),
        (SAPPHIRE_RAPIDS.replace(" avx512vl", ""), True, "avx2"),  # a hypervisor that hides one
    ],
)
def test_x86_cpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, amx: bool, variant: str) -> None:
    features = x86_cpu(monkeypatch, tmp_path, flags, amx)
    chosen = bundle_of("x86_64").library_for(features)
    assert chosen.file == f"lib/cpu-x86_64-{variant}.so" and features is not None and chosen.cpu_features <= features


def test_an_old_x86_cpu_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    features = x86_cpu(monkeypatch, tmp_path, HASWELL.replace(" avx2", "").replace(" fma", ""))
    with pytest.raises(UserError, match=r"^b: needs a CPU with avx2, fma: compile it on this machine"):
        bundle_of("x86_64").library_for(features)


@pytest.mark.parametrize(
    ("hwcap", "hwcap2", "variant"),
    [
        ((1,), (), "neon"),  # Cortex-A53, A72
        ((1, 8, 9, 10, 12), (), "neon"),  # first Cortex-A75: half precision, no dot product
        ((1, 8, 9, 10, 12, 20), (), "dotprod"),  # Cortex-A76
        ((1, 8, 9, 10, 12, 20, 22), (1, 13, 14), "i8mm"),  # Cortex-X2
        ((1, 8, 12), (13,), "neon"),  # i8mm alone is not enough
    ],
)
def test_aarch64_cpus(
    monkeypatch: pytest.MonkeyPatch, hwcap: tuple[int, ...], hwcap2: tuple[int, ...], variant: str
) -> None:
    words = {16: sum(1 << bit for bit in hwcap), 26: sum(1 << bit for bit in hwcap2)}

    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda _: SimpleNamespace(getauxval=Getauxval(words)))
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(cpu.sys, "platform", "linux")
    features = cpu.cpu_features()
    assert bundle_of("aarch64").library_for(features).file == f"lib/cpu-aarch64-{variant}.so"


class Getauxval:
    def __init__(self, words: dict[int, int]) -> None:
        self.words = words

    def __call__(self, word: int) -> int:
        return self.words[word]


@pytest.mark.parametrize("target", ["x86_64", "aarch64"])
def test_a_system_that_does_not_tell_gets_the_oldest_baseline(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setattr(cpu.sys, "platform", "darwin")
    bundle = bundle_of(target)
    assert cpu.cpu_features() is None
    assert bundle.library_for(None) == bundle.libraries[-1] == bundle.runnable(None)[0]


def test_runnable_lists_every_library_that_will_do() -> None:
    bundle = bundle_of("x86_64")
    assert [bundle.runnable(library.cpu_features) for library in bundle.libraries] == [
        bundle.libraries[i:] for i in range(len(bundle.libraries))
    ]
    assert bundle.runnable(frozenset()) == ()


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The features are real ones: they never grow when the kernel refuses AMX."""
    features = cpu.cpu_features()
    if features is None:
        pytest.skip("this system does not list its CPU's features")
    assert features
    monkeypatch.setattr(cpu, "_request_amx", lambda: False)
    assert cpu.cpu_features() == {name for name in features if not name.startswith("amx_")}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to a core")
def test_usable_cores_are_those_it_is_pinned_to() -> None:
    before = os.sched_getaffinity(0)
    assert cpu.usable_cores() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpu.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
