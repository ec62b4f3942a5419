"""What is said of a machine, and the peaks measured on it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from duomem.core import cpu, machine
from duomem.core.memory import Limit
from duomem.device.bench import peaks


def test_facts_of_this_machine() -> None:
    facts = machine.machine_facts()
    assert facts["cpu"] and facts["cores"] >= 1
    assert facts["packages"]["numpy"] == np.__version__


def test_an_arm_cpu_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n"
        "CPU implementer\t: 0x41\nCPU part\t: 0xd05\n"
    )
    monkeypatch.setattr(cpu, "_CPUINFO", info)
    assert cpu.cpu_name() == "implementer 0x41 part 0xd0c"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model name\t: Fast CPU\nCPU part\t: 0xd08\n\nmodel name\t: Slow CPU\n", "Fast CPU"),
        ("Hardware\t: BCM2835\n", "BCM2835"),
        ("", "A Board"),
    ],
)
def test_a_cpu_by_whatever_names_it(text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    (tmp_path / "board").write_text("A Board\0")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "_BOARD", tmp_path / "board")
    assert cpu.cpu_name() == name


def test_caches_are_the_data_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, (size, kind, level) in enumerate([("48K", "Data", 1), ("32K", "Instruction", 1), ("2M", "Unified", 2)]):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, text in (("size", size), ("type", kind), ("level", str(level))):
            (folder / name).write_text(text + "\n")
    monkeypatch.setattr(machine, "_CACHES", tmp_path)
    assert machine.caches() == {"L1": 48 << 10, "L2": 2 << 20}


def test_a_system_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((cpu, "_CPUINFO"), (cpu, "_BOARD"), (machine, "_CACHES"), (machine, "_STAT")):
        monkeypatch.setattr(module, name, tmp_path / "absent")
    monkeypatch.setattr(machine, "all_memory", lambda: None)
    facts = machine.machine_facts()
    assert machine.Others().cores() is None
    assert facts["memory_bytes"] is None and facts["caches"] == {} and facts["board"] is None and facts["cpu"]


def test_other_work_is_all_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds in which two cores were busy for 13 s, of which 4 s were ours."""
    stat, tick = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(machine, "_STAT", stat)
    clock, own = iter([100.0, 110.0]), iter([(1, 0, 1, 0, 0), (2, 1, 2, 1, 0)])
    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(machine.os, "times", lambda: next(own))
    stat.write_text("cpu 0 0 0 5 5 0 0 0 0 0\ncpu0 9 9 9\n")
    others = machine.Others()
    stat.write_text(f"cpu {5 * tick} {3 * tick} {2 * tick} 700 800 {tick} {tick} {tick} 0 0\ncpu0 9 9 9\n")
    assert others.cores() == pytest.approx((13 - 4) / 10)


def test_peak_memory_counts_what_is_touched() -> None:
    held = np.ones(30_000_000)
    assert machine.peak_rss() > held.nbytes


@pytest.mark.parametrize("threads", [1, 2])
def test_peaks_are_plausible(threads: int) -> None:
    """Orders of magnitude that any machine from a small phone to a server keeps."""
    found = peaks.measure_peaks(threads, 8 << 20)
    assert 1e8 < found["flops"] < 1e14
    assert 1e8 < found["read"] < 1e13
    assert found["memory"] is None or 1e8 < found["memory"] < 1e13


def test_no_buffer_larger_than_half_the_memory_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "caches", lambda: {"L3": 1 << 30})
    monkeypatch.setattr(peaks, "available_memory", lambda: Limit(8 << 30, "control group /"))
    assert peaks.memory_buffer() == 4 << 30
    monkeypatch.setattr(peaks, "available_memory", lambda: Limit((8 << 30) - 2, "free memory"))
    assert peaks.memory_buffer() is None
