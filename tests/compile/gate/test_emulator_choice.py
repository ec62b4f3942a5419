"""Which libraries are given to the emulator; tests/aarch64 runs them there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from duomem.compile.gate.emulated import PYTHON, check_emulated
from duomem.device.engine.bundle import Library


@pytest.mark.parametrize(
    ("arch", "file", "device"),
    [
        ("aarch64", "lib/cpu-aarch64-m1.dylib", "cpu"),
        ("aarch64", "lib/vulkan-aarch64-f32.so", "vulkan"),
        ("x86_64", "lib/cpu-x86_64-avx2.so", "cpu"),
    ],
)
def test_what_an_aarch64_linux_cannot_load_is_not_run(
    monkeypatch: pytest.MonkeyPatch, arch: str, file: str, device: str
) -> None:
    monkeypatch.setenv(PYTHON, "/nowhere/python")
    bundle: Any = SimpleNamespace(arch=arch, libraries=[Library(file, "generic", frozenset(), device)])
    assert check_emulated(bundle, bundle, 1e-3, 0.1) == {}
