from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from duomem.compile.library.toolchains import nvcc
from duomem.compile.library.toolchains.fatbin import read_fatbin
from duomem.core.errors import UserError

needs_nvcc = pytest.mark.skipif(nvcc.missing() is not None, reason=nvcc.missing() or "")
SOURCE = """
#include <cuda_fp16.h>
extern "C" __global__ void scale_kernel(float* x, float y) { x[threadIdx.x] *= y; }
"""


def fake_toolkit(folder: Path, script: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "nvcc").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "nvcc").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo Cuda compilation tools, release 12.6, V12.6.85", "is CUDA 12.6.85, TVM's runtime needs 13: pip install"),
        ("echo hello", "does not tell its version"),
        ("echo cannot run >&2; exit 127", "nvcc failed .exit 127.: cannot run"),
    ],
)
def test_a_toolkit_that_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(fake_toolkit(tmp_path / "cuda", script)))
    with pytest.raises(UserError, match=message) as error:
        nvcc.compile_fatbin(SOURCE, ["sm_87"], ["scale_kernel"])
    assert "\n" not in str(error.value)


def test_no_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvcc, "find_nvcc", lambda: None)
    assert "pip install duomem[cuda]" in (nvcc.missing() or "")


def test_machine_code_that_is_not_what_was_asked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = 'while [ "$1" != -o ]; do shift; done; echo ptx > "$2"'
    script = f'case "$*" in *--version*) echo V13.0.88;; *) {compiler};; esac'
    monkeypatch.setenv("CUDA_HOME", str(fake_toolkit(tmp_path / "cuda", script)))
    with pytest.raises(UserError, match="a device would have to compile it"):
        nvcc.compile_fatbin(SOURCE, ["sm_87"], ["scale_kernel"])


@needs_nvcc
def test_cuda_to_machine_code_of_each_gpu_and_no_ptx(tmp_path: Path) -> None:
    data = nvcc.compile_fatbin(SOURCE, ["sm_87", "sm_89", "sm_110"], ["scale_kernel"])
    images = read_fatbin(data)
    assert [(image.kind, image.arch) for image in images] == [("sass", "sm_87"), ("sass", "sm_89"), ("sass", "sm_110")]
    found = nvcc.find_nvcc()
    assert found is not None
    cuobjdump = found.with_name("cuobjdump")
    if not cuobjdump.is_file():
        pytest.skip("no cuobjdump beside nvcc: pip install nvidia-cuda-cuobjdump; the other checks have passed")
    (tmp_path / "x.fatbin").write_bytes(data)
    listing = subprocess.run([cuobjdump, "-lelf", "-lptx", tmp_path / "x.fatbin"], capture_output=True, text=True)
    assert listing.stdout.count(".cubin") == 3
    assert ".ptx" not in listing.stdout


@needs_nvcc
def test_wrong_cuda_is_one_line_with_the_compilers_reason() -> None:
    with pytest.raises(UserError, match=r"nvcc failed .*error") as error:
        nvcc.compile_fatbin("__global__ void f() { undeclared(); }", ["sm_87"], ["f"])
    assert "\n" not in str(error.value)


@needs_nvcc
@pytest.mark.parametrize("archs", [[], ["compute_87"], ["sm_87; rm -rf x"]])
def test_names_of_gpus_are_checked(archs: list[str]) -> None:
    with pytest.raises(UserError, match="give names like sm_87"):
        nvcc.compile_fatbin(SOURCE, archs, ["scale_kernel"])
