"""Fixtures of the Vulkan plugin's tests: they run on whatever GPU is there, Mesa's lavapipe among them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def gpu_facts() -> dict[str, Any]:
    """The best GPU's facts; skips where the plugin or a Vulkan driver is missing."""
    if importlib.util.find_spec("duomem_vulkan") is None:
        pytest.skip("duomem-vulkan is not installed (pip install ./plugins/vulkan)")
    import duomem_vulkan
    import tvm  # noqa: F401  (loads the plugin)

    gpus = duomem_vulkan.gpus()
    if not gpus:
        pytest.skip("no Vulkan driver (Debian: apt install mesa-vulkan-drivers libvulkan1)")
    return gpus[0]


@pytest.fixture(scope="session")
def device(gpu_facts: dict[str, Any]) -> Any:
    import tvm

    return tvm.device("webgpu", 0)


@pytest.fixture(scope="session")
def vulkan_bundle(gpu_facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model compiled for Vulkan in q4f32_1, context 256. Read it, do not change it."""
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target

    out = tmp_path_factory.mktemp("bundles") / "vulkan"
    compile_bundle(tiny_model, load_target("vulkan"), "q4f32_1", out, context_length=256)
    return out


@pytest.fixture(scope="session")
def run_python(gpu_facts: dict[str, Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run_python(program, **environment) runs a program in a fresh process that can import `wgsl`."""

    def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
