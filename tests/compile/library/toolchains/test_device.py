"""A bundle for a GPU this machine does not have: named, with what it needs; and the CPU's library taken instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.compile.library.gpu_limits import MAX_BINDING, check_gpu
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import UserError
from duomem.device.engine.bundle import Bundle, read_bundle
from duomem.device.engine.tvm_engine import TvmEngine
from duomem.device.engine.tvm_library import RUNTIME_DEVICES


@pytest.fixture(params=RUNTIME_DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    import tvm

    if tvm.device(request.param).exist:
        pytest.skip(f"this machine has a device {request.param}")
    return request.param


def with_gpu(tiny_bundle: Path, device: str) -> Bundle:
    """The tiny bundle, also listing a library for `device`."""
    bundle = read_bundle(tiny_bundle)
    libraries = bundle.manifest["target"]["libraries"]
    gpu = {**libraries[0], "device": device, "cpu_features": []}
    target = {**bundle.manifest["target"], "device": device, "libraries": [gpu, *libraries]}
    return Bundle(bundle.folder, {**bundle.manifest, "target": target})


def test_a_missing_gpu_is_named_with_what_it_needs(tiny_bundle: Path, device: str) -> None:
    with pytest.raises(UserError, match=f"device {device}: none here: it needs {RUNTIME_DEVICES[device][:5]}"):
        TvmEngine.open(with_gpu(tiny_bundle, device), device)


def test_the_cpu_takes_over(tiny_bundle: Path, device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert TvmEngine.open(with_gpu(tiny_bundle, device)).library.device == "cpu"
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"device {device}: none here") and line.endswith("going on with cpu")


def test_webgpus_limit_on_tensors_is_not_cudas(tiny_model: Path) -> None:
    config = Checkpoint(tiny_model).config
    length = MAX_BINDING // (2 * config.kv_size * 4)
    with pytest.raises(UserError, match="maxStorageBufferBindingSize"):
        check_gpu(config, "q4f32_1", length, "here")
    check_gpu(config, "q4f32_1", length, "here", webgpu=False)
    with pytest.raises(UserError, match="computes --quant q4f32_1"):
        check_gpu(config, "q0f32", length, "here", webgpu=False)
