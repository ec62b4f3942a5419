"""Bundles with GPU libraries: what the manifest may say, and which library a device is offered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import write_bundle

from duomem.core.errors import UserError
from duomem.device.engine import gpu as gpu_module
from duomem.device.engine.bundle import Library, read_bundle
from duomem.device.engine.gpu import SOFTWARE, Gpu, choose_gpu, gpus, software_allowed

CPU = {"file": "lib/cpu.so", "mcpu": "generic", "activations": "exact", "cpu_features": []}
GPU = {"file": "lib/vulkan.so", "device": "vulkan", "mcpu": "generic", "activations": "exact", "cpu_features": []}
CHECK: dict[str, Any] = {"tokens": [1, 2, 3, 4], "ids": [0, 299], "logits": [0.5, -2]}


def bundle_with(folder: Path, libraries: list[dict[str, Any]], **check: Any) -> Path:
    target = {"name": "any", "device": "cpu", "arch": "x86_64", "libraries": libraries}
    gate = {"max_abs_diff": 0.0, "bound": 1.0, "self_check": CHECK | check}
    return write_bundle(folder, {entry["file"]: b"\x7fELF" for entry in libraries}, target=target, gate=gate)


def test_libraries_are_kept_apart_by_device(tmp_path: Path) -> None:
    older = dict(CPU)
    bundle = read_bundle(bundle_with(tmp_path / "b", [older, GPU]))
    assert bundle.devices == ("vulkan", "cpu") and bundle.device == "auto"
    assert bundle.runnable(frozenset()) == (Library("lib/cpu.so", "generic", frozenset()),)
    assert bundle.library_for(None, "vulkan").file == "lib/vulkan.so"
    assert read_bundle(bundle_with(tmp_path / "g", [GPU])).device == "vulkan"
    assert read_bundle(bundle_with(tmp_path / "c", [CPU])).device == "cpu"


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": [1, 2, 3]},
        {"tokens": [1, 2, 3, 300]},
        {"ids": [-1, 2]},
        {"ids": [0, 300]},
        {"logits": [1.0]},
        {"logits": [1.0, "2"]},
        {"logits": [1.0, float("nan")]},
    ],
)
def test_a_self_check_that_cannot_be_run_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"field gate.self_check\.") as error:
        read_bundle(bundle_with(tmp_path / "b", [CPU, GPU], **wrong))
    assert "\n" not in str(error.value)


class _Tvm:
    """What device.engine.gpu asks of TVM, the plugin reporting the GPUs `found`; None is no plugin."""

    def __init__(self, found: list[dict[str, Any]] | None) -> None:
        self.found = found

    def get_global_func(self, name: str, allow_missing: bool) -> Any:
        assert name == "duomem_vulkan.gpus" and allow_missing
        return None if self.found is None else lambda: self.found


def reported(index: int, name: str, software: bool) -> dict[str, Any]:
    limits = {"max_storage_buffer_binding_size": 1 << 27}
    return {"index": index, "name": name, "software": software, "limits": limits}


def test_the_first_gpu_is_chosen() -> None:
    tvm = _Tvm([reported(0, "a GPU", False), reported(1, "llvmpipe", True)])
    assert gpus(tvm) == [Gpu(0, "a GPU", False, 1 << 27), Gpu(1, "llvmpipe", True, 1 << 27)]
    assert choose_gpu(tvm, software=True) == choose_gpu(tvm, software=False) == gpus(tvm)[0]


def test_why_there_is_none_is_said() -> None:
    software = _Tvm([reported(0, "llvmpipe", True)])
    assert choose_gpu(software, software=True).software
    with pytest.raises(UserError, match=rf"only a software rasteriser \(llvmpipe\).*{SOFTWARE}=1"):
        choose_gpu(software, software=False)
    with pytest.raises(UserError, match="no GPU with a Vulkan driver"):
        choose_gpu(_Tvm([]), software=True)
    with pytest.raises(UserError, match="duomem-vulkan is missing"):
        choose_gpu(_Tvm(None), software=True)
    assert gpus(_Tvm(None)) == []


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("0", False), ("", False)])
def test_the_environment_allows_software(monkeypatch: pytest.MonkeyPatch, value: str, allowed: bool) -> None:
    monkeypatch.setenv(SOFTWARE, value)
    assert software_allowed() is allowed


def test_a_driver_that_crashes_or_hangs_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_module, "_ASK", [sys.executable, "-c", "import os; os.abort()"])
    assert not gpu_module.has_gpu()
    monkeypatch.setattr(gpu_module, "_ASK", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(gpu_module, "_ASK_LIMIT", 0.5)
    assert not gpu_module.has_gpu()


def test_a_gpu_library_takes_matrices_transposed(tmp_path: Path) -> None:
    from duomem.device.engine.weights import Record, library_weight

    words = np.arange(24, dtype="<u4").reshape(8, 3)
    scales = np.arange(8, dtype="<f2").reshape(8, 1)
    for array, name in ((words, "words"), (scales, "scales"), (scales[:, 0], "norm")):
        (tmp_path / name).write_bytes(array.tobytes())

    def record(name: str, shape: tuple[int, ...], dtype: str) -> Record:
        size = (tmp_path / name).stat().st_size
        return Record(name, tmp_path / name, 0, size, shape, dtype, "raw")

    taken = library_weight([record("words", (8, 3), "uint32")], (3, 8), "uint32", "q4f16_1", transposed=True)
    assert np.array_equal(taken, words.T) and taken.flags.c_contiguous
    taken = library_weight([record("scales", (8, 1), "float16")], (1, 8), "float32", "q4f16_1", transposed=True)
    assert np.array_equal(taken, scales.T.astype(np.float32))
    taken = library_weight([record("norm", (8,), "float16")], (8,), "float32", "q4f16_1", transposed=True)
    assert np.array_equal(taken, scales[:, 0].astype(np.float32))
    with pytest.raises(UserError, match="the library takes"):
        library_weight([record("words", (8, 3), "uint32")], (8, 3), "uint32", "q4f16_1", transposed=True)
