from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from duomem.compile.kernels.tile import Cpu
from duomem.compile.library.build import building
from duomem.compile.library.target import Target, Variant, known_targets, load_target, read_target
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import UserError


def build(model: Path, folder: Path, code: str, time_limit: float = 60, target: str = "host") -> list[dict[str, Any]]:
    worker = (sys.executable, "-c", code)
    with building(Checkpoint(model), "q4f32_1", load_target(target), 64, "exact", folder, time_limit, worker) as finish:
        return finish()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed .SIGSEGV.: it wrote nothing"),
        ("import sys; print('about to'); sys.exit(3)", "failed .exit 3.: about to"),
        ("raise ValueError('no such intrinsic')", "ValueError: no such intrinsic"),
        ("pass", "wrote no library"),
    ],
)
def test_a_failing_compiler_is_one_line(tiny_model: Path, tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(tiny_model, tmp_path, code)
    assert "\n" not in str(error.value)


def test_a_hanging_compiler_and_its_children_are_stopped(tiny_model: Path, tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(2); pathlib.Path({str(mark)!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(UserError, match="more than 1 s"):
        build(tiny_model, tmp_path, code, time_limit=1)
    time.sleep(2)
    assert not mark.exists()


def test_no_c_compiler(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install gcc or clang"):
        build(tiny_model, tmp_path, "pass")


def test_unknown_target_names_the_known() -> None:
    assert "host" in known_targets()
    with pytest.raises(UserError, match=r"--target toaster: no such target: use one of .*host"):
        load_target("toaster")
    with pytest.raises(UserError, match="no such target"):
        load_target("../targets/host")


def test_a_target_says_where_its_libraries_go() -> None:
    old, new = Variant("neon", {}, ()), Variant("i8mm", {}, ("i8mm",))
    target = Target("pi", "cpu", "aarch64", (new, old))
    assert [target.library(variant) for variant in target.variants] == [
        "lib/cpu-aarch64-i8mm.so",
        "lib/cpu-aarch64-neon.so",
    ]


WRITER = """
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
job = json.loads(path.read_text())
pathlib.Path(job["library"]).write_text(job["link"])
result = {"mcpu": job["llvm"]["mcpu"], "activations": job["activations"], "kv_bytes": 4}
path.with_name("result.json").write_text(json.dumps(result))
"""


def test_every_variant_is_built(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    (tmp_path / "lib").mkdir()
    libraries = build(tiny_model, tmp_path, WRITER, target="aarch64")
    assert [(tmp_path / entry["file"]).read_text() for entry in libraries] == ["aarch64-linux-gnu.2.28"] * 3
    assert [entry["cpu_features"] for entry in libraries][-1] == ["asimd"]


def test_no_zig(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(UserError, match=r"--target aarch64: .* pip install ziglang"):
        build(tiny_model, tmp_path, "pass", target="aarch64")


def test_compilers_are_stopped_when_the_rest_fails(tiny_model: Path, tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    worker = (sys.executable, "-c", f"import time, pathlib; time.sleep(2); pathlib.Path({str(mark)!r}).touch()")
    with (
        pytest.raises(ZeroDivisionError),
        building(Checkpoint(tiny_model), "q4f32_1", load_target("host"), 64, "exact", tmp_path, worker=worker),
    ):
        raise ZeroDivisionError
    time.sleep(2.5)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'", "KeyError"),
        ("name = 'x'\ndevice = 'cpu'\narch = 'x86_64'\nvariants = []", "variants: none"),
        (
            "name = 'x'\ndevice = 'cpu'\narch = 'x86_64'\nvariants = "
            "[{name = 'a', llvm = {kind = 'llvm'}, cpu_features = ['avx9']}]",
            "avx9 is no feature duomem knows",
        ),
        (
            "name = 'x'\ndevice = 'cpu'\narch = 'x86_64'\nvariants = "
            "[{name = '../a', llvm = {kind = 'llvm'}, cpu_features = []}]",
            r"ValueError: name '\.\./a'",
        ),
        ("[", "not valid TOML"),
    ],
)
def test_target_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_target(tmp_path / "x.toml")
    assert "x.toml" in str(error.value)


@pytest.mark.parametrize(("bits", "registers", "rows"), [(512, 32, 8), (256, 16, 3), (128, 32, 3), (128, 16, 1)])
def test_tiles_fit_the_registers(bits: int, registers: int, rows: int) -> None:
    assert Cpu(bits, registers).rows == rows
