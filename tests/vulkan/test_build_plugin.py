"""Building the Vulkan plugin: what it refuses, and what the built libraries ask of a device."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.vulkan

FOLDER = Path(__file__).parents[2] / "plugins" / "vulkan"


@pytest.fixture(scope="module")
def build_plugin() -> Any:
    spec = importlib.util.spec_from_file_location("build_plugin", FOLDER / "build_plugin.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_plugin"] = module  # its dataclass looks its own module up
    spec.loader.exec_module(module)
    return module


def test_refusals_name_the_fix(build_plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(arch for arch in build_plugin.ARCHES if arch != platform.machine())
    with pytest.raises(build_plugin.BuildError, match=f"needs --wheels: a folder with the {other} wheels"):
        build_plugin.Plan(arch=other, zig=True)
    with pytest.raises(build_plugin.BuildError, match="pip install ziglang"):
        build_plugin.Plan(arch=other, zig=False, wheels=Path("wheels"))
    with pytest.raises(build_plugin.BuildError, match="'riscv64' is not one of x86_64, aarch64"):
        build_plugin.Plan(arch="riscv64", zig=True)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(build_plugin.BuildError, match="builds on Linux, not on darwin"):
        build_plugin.Plan(arch="aarch64", zig=True)


def test_a_folder_without_the_wheels_is_named(build_plugin: Any, tmp_path: Path) -> None:
    other = next(arch for arch in build_plugin.ARCHES if arch != platform.machine())
    plan = build_plugin.Plan(arch=other, zig=True, wheels=tmp_path)
    with pytest.raises(build_plugin.BuildError, match=f"{tmp_path}: no {other} wheel of apache-tvm=="):
        build_plugin.compile_plugin(plan, tmp_path / "out")


def test_a_library_that_needs_a_newer_glibc_is_refused(build_plugin: Any, tmp_path: Path) -> None:
    library = tmp_path / "lib.so"
    library.write_bytes(b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.28\0GLIBCXX_3.4.21\0")
    assert build_plugin.symbol_versions(library) == {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 21)}
    build_plugin.check_symbol_versions(library)
    library.write_bytes(b"\x7fELF\0GLIBC_2.32\0GLIBCXX_3.4.21\0")
    with pytest.raises(build_plugin.BuildError, match=r"needs GLIBC_2\.32, above 2\.31"):
        build_plugin.check_symbol_versions(library)


def test_the_installed_plugin_loads_on_glibc_2_31(build_plugin: Any, gpu_facts: dict[str, Any]) -> None:
    import duomem_vulkan

    for library in sorted(duomem_vulkan.LIBRARY.parent.glob("*.so")):
        build_plugin.check_symbol_versions(library)
        assert "GLIBC" in build_plugin.symbol_versions(library)
