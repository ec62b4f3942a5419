from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from duomem.compile.weights import mlc_layout
from duomem.compile.weights.quantize import PackedTensor, to_bfloat16
from duomem.device.engine.weights import read_tensor_cache

READ_WITH_TVM = """
import sys, numpy, tvm
from tvm.contrib import tvmjs
params, _ = tvmjs.load_tensor_cache(sys.argv[1], tvm.cpu())
numpy.savez(sys.argv[2], **{name: value.numpy() for name, value in params.items()})
"""


def tensors() -> list[PackedTensor]:
    rng = np.random.default_rng(0)
    return [
        PackedTensor.of("a.q_weight", rng.integers(0, 1 << 32, (300, 64), dtype=np.uint32), 300 * 512),
        PackedTensor.of("a.q_scale", to_bfloat16(rng.standard_normal((300, 16)).astype(np.float32)), 0, half=True),
        PackedTensor.of("norm.weight", rng.standard_normal(48).astype(np.float32)),
        PackedTensor.of("big.weight", rng.standard_normal((64, 512)).astype(np.float32)),
        PackedTensor.of("last.weight", rng.standard_normal((3, 5)).astype(np.float32)),
    ]


def test_round_trip_over_several_shards(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mlc_layout, "_SHARD_BYTES", 100_000)
    mlc_layout.write_weights(tensors(), tmp_path)
    assert len(list(tmp_path.glob("params_shard_*.bin"))) == 3
    records = read_tensor_cache(tmp_path)
    for tensor in tensors():
        assert np.array_equal(records[tensor.name].load(), tensor.array), tensor.name


def test_tvm_reads_the_same_values(tmp_path: Path) -> None:
    mlc_layout.write_weights(tensors(), tmp_path)
    read = tmp_path / "read.npz"
    subprocess.run([sys.executable, "-c", READ_WITH_TVM, str(tmp_path), str(read)], check=True, timeout=120)
    values = np.load(read)
    for tensor in tensors():
        assert np.array_equal(values[tensor.name], tensor.array), tensor.name


def test_metadata_counts_bits(tmp_path: Path) -> None:
    mlc_layout.write_weights(tensors()[:2], tmp_path)
    metadata = json.loads((tmp_path / "tensor-cache.json").read_text())["metadata"]
    assert metadata["BitsPerParam"] == 5.0 and metadata["ParamSize"] == 2
