"""Write a model folder of random weights in a student's exact shape: random_checkpoint.py STUDENT TOKENIZER OUT.

STUDENT: a Qwen3 one of duomem/configs/students. TOKENIZER: a folder with a tokenizer.json. What such a model costs to
compile and run is what the real one does. bfloat16, one layer in memory at a time; the same seed gives the same bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.models.qwen3 import read_config
from duomem.core.errors import UserError
from duomem.core.files import atomic_folder, read_toml
from duomem.core.package import own_files

SEED = 0
SPREAD = 0.02
"""Standard deviation of a matrix's values, as transformers begins with."""
QWEN3: dict[str, Any] = {
    "model_type": "qwen3",
    "max_position_embeddings": 40960,
    "rope_theta": 1000000,
    "rms_norm_eps": 1e-06,
    "hidden_act": "silu",
    "attention_bias": False,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "torch_dtype": "bfloat16",
}
"""What the config.json of every Qwen3 student says beside its sizes."""


def write_checkpoint(student: str, tokenizer: Path, out: Path) -> None:
    """Write the folder `out`. Raises UserError for a student that is none of Qwen3's."""
    files = own_files("configs/students")
    place = files.get(f"configs/students/{student}.toml")
    if place is None:
        raise UserError(f"{student}: no such student: name a file of duomem/configs/students without .toml")
    sizes = dict(read_toml(place, "student config")["architecture"])
    name = sizes.pop("name")
    if name != "Qwen3ForCausalLM":
        raise UserError(f"{student}: is a {name}: name a Qwen3 student")
    config = {"architectures": [name], **QWEN3, **sizes}
    decoder = read_config(config, f"{student}.toml")
    shards: dict[str, dict[str, tuple[int, ...]]] = {}
    for weight in decoder.weights():
        for source in weight.sources:
            parts = source.split(".")
            shard = f"model-{parts[2]}.safetensors" if parts[1] == "layers" else f"model-{parts[-2]}.safetensors"
            shards.setdefault(shard, {})[source] = (decoder.source_rows(source), *weight.shape[1:])
    with atomic_folder(out) as work:
        (work / "config.json").write_text(json.dumps(config, indent=2))
        shutil.copyfile(tokenizer / "tokenizer.json", work / "tokenizer.json")
        random = np.random.default_rng(SEED)
        for shard, tensors in shards.items():
            _write_shard(work / shard, tensors, random)
        index = {source: shard for shard, tensors in shards.items() for source in tensors}
        (work / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def _write_shard(file: Path, tensors: dict[str, tuple[int, ...]], random: np.random.Generator) -> None:
    """A safetensors file of these shapes: ones for norms, else normal values."""
    header, position = {}, 0
    for name, shape in tensors.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    with open(file, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for shape in tensors.values():
            rows, width = (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])
            for _ in range(rows):
                values = random.standard_normal(width, np.float32) * np.float32(SPREAD)
                if len(shape) == 1:
                    values = np.ones(width, np.float32)
                f.write((values.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: scripts/random_checkpoint.py STUDENT TOKENIZER OUT")
    try:
        write_checkpoint(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except UserError as error:
        sys.exit(str(error))
