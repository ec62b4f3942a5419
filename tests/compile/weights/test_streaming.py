"""Converting a model takes memory for a block of its weights, not for the model or its largest matrix."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.compile.models.config import Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.quantize import dequantize, quantize
from duomem.device.engine.weights import read_tensor_cache

LIMIT = 2 << 30
SHARD = 1 << 30
MARKED = 64
"""Last rows of the embedding that are not zero: the others are holes in the files, which take no time to write."""

CONFIG: dict[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"],
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 9,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262144,
    "sliding_window": 1024,
}
CONVERT = """
import sys
from pathlib import Path
from duomem.compile.bundle import packed_tensors
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.mlc_layout import write_weights
folder, out, scheme = sys.argv[1:]
write_weights(packed_tensors(Checkpoint(Path(folder)), scheme, None), Path(out))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def bfloat16_rows(rows: int, columns: int) -> np.ndarray:
    """Random bfloat16 values as their bits, uint16 [rows, columns]."""
    values = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    return (values.view(np.uint32) >> np.uint32(16)).astype("<u2")


@pytest.fixture(scope="module")
def big_model(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Path) -> Any:
    """A sharded bfloat16 checkpoint of 3 GB, 1.3 GB of it the embedding; sparse files, gone after the test."""
    folder = tmp_path_factory.mktemp("big")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_bytes((byte_tokenizer / "tokenizer.json").read_bytes())
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    for name, shape in tensor_shapes(folder).items():
        if 2 * sum(math.prod(s) for _, s in shards[-1]) > SHARD:
            shards.append([])
        shards[-1].append((name, shape))
    weight_map = {}
    for i, tensors in enumerate(shards):
        file = folder / f"model-{i}.safetensors"
        write_sparse(file, dict(tensors))
        weight_map |= {name: file.name for name, _ in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    yield folder
    for file in folder.iterdir():
        file.unlink()


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    from duomem.compile.models.gemma3 import read_config

    config = read_config(CONFIG, "config.json")
    return {
        source: (config.source_rows(source), *weight.shape[1:])
        for weight in config.weights()
        for source in weight.sources
    }


def write_sparse(file: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of zeros, but for the last rows of an embedding."""
    header, position, marks = {}, 0, []
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, position + size]}
        position += size
        if "embed_tokens" in name:
            marks.append((position, bfloat16_rows(MARKED, shape[1]).tobytes()))
    text = json.dumps(header).encode()
    with open(file, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + position)
        for end, data in marks:
            f.seek(8 + len(text) + end - len(data))
            f.write(data)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("scheme", ["q4f32_1", "q0f16"])
def test_peak_memory_stays_below_two_gigabytes(big_model: Path, tmp_path: Path, scheme: str) -> None:
    checkpoint = Checkpoint(big_model)
    sizes = {weight: math.prod(weight.shape) for weight in checkpoint.config.weights()}
    assert 2 * sum(sizes.values()) > 2.9e9 and 4 * max(sizes.values()) > LIMIT
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", CONVERT, str(big_model), str(out), scheme]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
    peak = int(run.stdout)
    print(f"{scheme}: peak {peak / 1e6:.0f} MB")
    check_embedding(next(iter(sizes)), out, scheme)
    for file in out.iterdir():
        file.unlink()
    assert peak < LIMIT


def check_embedding(weight: Weight, out: Path, scheme: str) -> None:
    """The marked rows are where they belong, with their values, after all the blocks before them."""
    rows = (bfloat16_rows(MARKED, CONFIG["hidden_size"]).astype(np.uint32) << np.uint32(16)).view(np.float32)
    records = read_tensor_cache(out)
    if scheme == "q0f16":
        stored = records[weight.name + ".weight"].load()
        assert stored.shape == weight.shape
        assert np.array_equal(stored[-MARKED:], rows.astype(np.float16)) and not stored[-MARKED - 1].any()
    else:
        q, scale = (records[weight.name + end].load() for end in (".q_weight", ".q_scale"))
        assert q.shape[0] == scale.shape[0] == weight.shape[0]
        assert np.array_equal(dequantize(q[-MARKED:], scale[-MARKED:]), dequantize(*quantize(rows, scheme)))
        assert not scale[-MARKED - 1].any()
