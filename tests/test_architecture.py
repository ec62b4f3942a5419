"""The arrows between the packages, and what a device's Python loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "duomem"
BELOW = {"core", "configs"}
"""What every package may use."""
ALLOWED = {
    "core": set(),
    "configs": set(),
    "memory_packs": set(),
    "device": {"memory_packs"},
    "compile": {"device"},
    "report": {"device", "memory_packs"},
    "deploy": {"device"},
    "train": {"device", "memory_packs"},
    "cli": {"device", "memory_packs", "train", "compile", "report", "deploy"},
}
DEVICE_ROOMS = {
    "engine": set(),
    "world": set(),
    "alfworld": {"world"},
    "twc": {"world"},
    "agent": {"engine", "world", "alfworld"},
    "doctor": {"engine", "alfworld"},
    "bench": {"engine", "agent"},
    "serve": {"engine", "agent", "world"},
    "watch": {"agent", "alfworld", "world"},
    "install": {"engine"},
}
"""What each folder of device may use of the others."""
DEVICE_SIDE = ("core", "configs", "memory_packs", "device")
FILES = [path.relative_to(PACKAGE) for package in ALLOWED for path in sorted((PACKAGE / package).rglob("*.py"))]
HEAVY = ("torch", "transformers", "peft", "safetensors", "alfworld", "textworld", "tvm.relax", "matplotlib")
COMPILE_ROOMS = {
    "kernels": set(),
    "models": {"kernels"},
    "weights": {"models"},
    "toolchains": set(),
    "library": {"weights", "models", "kernels", "toolchains"},
    "gate": {"weights", "models"},
    "bundle": {"gate", "library", "weights", "models"},
    "export": {"bundle", "weights", "models"},
}
"""What each part of compile may use beside itself and what is below compile: only parts listed above it."""


def _imports(path: Path) -> set[str]:
    """Modules a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down(path: Path) -> None:
    package = path.parts[0]
    used = {name.split(".")[1] for name in _imports(path) if name.startswith("duomem.")}
    assert used <= ALLOWED[package] | BELOW | {package}


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "device" and len(p.parts) > 1], ids=str)
def test_imports_within_device_point_down(path: Path) -> None:
    room = path.with_suffix("").parts[1]
    used = {name.split(".")[2] for name in _imports(path) if name.startswith("duomem.device.")}
    assert room == "__init__" or used <= DEVICE_ROOMS[room] | {room}


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[:2] == ("device", "agent")], ids=str)
def test_the_agent_knows_no_world(path: Path) -> None:
    """Of ALFWorld nothing but the words that people have for goals: whatever it plays reaches it as a World."""
    worlds = ("duomem.device.alfworld.", "duomem.device.twc.")
    assert all(
        name.startswith("duomem.device.alfworld.annotations.") for name in _imports(path) if name.startswith(worlds)
    )


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse((PACKAGE / path).read_text()))


def _compile_room(module: str) -> str | None:
    """The part of compile that a module (or a name in it) belongs to, None for none and for the package itself."""
    parts = module.split(".")
    if parts[:2] != ["duomem", "compile"] or len(parts) < 3:
        return None
    return "toolchains" if parts[2:4] == ["library", "toolchains"] else parts[2]


def test_compile_has_no_circle() -> None:
    rooms = list(COMPILE_ROOMS)
    for i, room in enumerate(rooms):
        assert COMPILE_ROOMS[room] <= set(rooms[:i]), room


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "compile"], ids=str)
def test_imports_within_compile_point_down(path: Path) -> None:
    room = _compile_room(".".join(("duomem", *path.with_suffix("").parts)).removesuffix(".__init__"))
    used = {_compile_room(name) for name in _imports(path)} - {None, room}
    assert used <= COMPILE_ROOMS.get(str(room), set())


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] in DEVICE_SIDE], ids=str)
def test_the_device_side_never_imports_what_a_device_has_not(path: Path) -> None:
    """Not even inside a function."""
    never = {"torch", "transformers", "peft", "safetensors", "matplotlib", "alfworld", "textworld"}
    assert not never & {name.split(".")[0] for name in _imports(path)}


def _loaded(program: str) -> list[str]:
    """Heavy modules and libraries that a fresh Python has loaded after running `program`."""
    code = (
        f"import json, sys\n{program}\n"
        f"heavy = [m for m in {HEAVY} if sys.modules.get(m) is not None]\n"
        "maps = open('/proc/self/maps').read()\n"
        "print(json.dumps(heavy + [l for l in ('libtvm_compiler', 'libtorch') if l in maps]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_device_loads_nothing_heavy() -> None:
    modules = [
        ".".join(("duomem", *p.with_suffix("").parts)).removesuffix(".__init__")
        for p in FILES
        if p.parts[0] in DEVICE_SIDE
    ]
    assert _loaded("import " + ", ".join(modules)) == []


def test_help_loads_nothing_heavy() -> None:
    assert _loaded("from duomem.cli.main import main\nassert main(['--help']) == 0") == []


def test_playing_loads_nothing_heavy(tiny_bundle: Path, generated_games: Path) -> None:
    """As on a device, without torch: where it is installed, tvm_ffi imports it by itself."""
    arguments = ["play", str(tiny_bundle), "--games", str(generated_games), "--protocol", "free"]
    assert (
        _loaded(f"sys.modules['torch'] = None\nfrom duomem.cli.main import main\nassert main({arguments!r}) == 0") == []
    )


def test_a_heavy_import_would_be_seen() -> None:
    pytest.importorskip("torch")
    assert _loaded("import torch") == ["torch", "libtorch"]
