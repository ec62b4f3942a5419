from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from duomem.base.errors import UserError
from duomem.compile.build import build_library
from duomem.compile.checkpoint import Checkpoint
from duomem.compile.kernels.tile import Tile, tile_for
from duomem.compile.target import Target, known_targets, load_target


def build(model: Path, library: Path, code: str, time_limit: float = 60) -> None:
    worker = (sys.executable, "-c", code)
    build_library(Checkpoint(model), "q4f32_1", load_target("host"), 64, library, time_limit, worker)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed .SIGSEGV. .* wrote nothing"),
        ("import sys; print('about to'); sys.exit(3)", "failed .exit 3. .* about to"),
        ("raise ValueError('no such intrinsic')", "ValueError: no such intrinsic"),
        ("pass", "failed .exit 0."),
    ],
)
def test_a_failing_compiler_is_one_line(tiny_model: Path, tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(tiny_model, tmp_path / "x.so", code)
    assert "\n" not in str(error.value)


def test_a_hanging_compiler_and_its_children_are_stopped(tiny_model: Path, tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(2); pathlib.Path({str(mark)!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(UserError, match="more than 1 s"):
        build(tiny_model, tmp_path / "x.so", code, time_limit=1)
    time.sleep(2)
    assert not mark.exists()


def test_no_c_compiler(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install gcc or clang"):
        build(tiny_model, tmp_path / "x.so", "pass")


def test_unknown_target_names_the_known() -> None:
    assert "host" in known_targets()
    with pytest.raises(UserError, match="host"):
        load_target("toaster")
    with pytest.raises(UserError):
        load_target("../targets/host")


def test_a_target_says_where_its_library_goes() -> None:
    assert Target("pi", "cpu", "aarch64", {}).library == "lib/cpu-aarch64.so"


@pytest.mark.parametrize(
    ("bits", "registers", "rows"), [(512, 32, 8), (256, 16, 3), (128, 32, 3), (128, 16, 1)]
)
def test_tiles_fit_the_registers(bits: int, registers: int, rows: int) -> None:
    assert tile_for(bits, registers) == Tile(rows, 32)
