"""Writing a model folder in MLC's layout: params_shard_*.bin, tensor-cache.json, mlc-chat-config.json.

Tensors stream through, one shard in memory at a time.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.mlc_config import chat_config, tokenizer_sources
from duomem.compile.weights.quantize import PackedTensor
from duomem.core.files import write_json
from duomem.device.engine.weights import TENSOR_CACHE

CHAT_CONFIG = "mlc-chat-config.json"
_SHARD_BYTES = 32 << 20


def write_weights(tensors: Iterable[PackedTensor], folder: Path) -> None:
    """Write `tensors` to `folder` as shards of about 32 MiB and list them in tensor-cache.json.

    A tensor of at least half a shard gets one of its own, as in TVM's own writer, and goes there block by
    block.
    """
    shards: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []
    data: list[bytes] = []
    parameters = total = values = size = 0

    def flush(content: Iterable[bytes], records: list[dict[str, Any]]) -> None:
        name = f"params_shard_{len(shards)}.bin"
        md5 = hashlib.md5(usedforsecurity=False)
        with open(folder / name, "wb") as f:
            for part in content:
                f.write(part)
                md5.update(part)
        shards.append(
            {
                "dataPath": name,
                "format": "raw-shard",
                "nbytes": sum(record["nbytes"] for record in records),
                "records": records,
                "md5sum": md5.hexdigest(),
            }
        )

    for tensor in tensors:
        count = math.prod(tensor.shape)
        width = np.dtype(tensor.dtype).itemsize
        nbytes = count * (2 if tensor.half else width)
        record = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "format": "f32-to-bf16" if tensor.half else "raw",
            "nbytes": nbytes,
            "byteOffset": 0,
        }
        parameters += 1
        total += count * width
        values += tensor.values
        content = (_encode(block, tensor.half) for block in tensor.blocks())
        if nbytes * 2 >= _SHARD_BYTES:
            flush(content, [record])
            continue
        if size + nbytes > _SHARD_BYTES:
            flush(data, pending)
            data, pending, size = [], [], 0
        record["byteOffset"] = size
        size += nbytes
        data += content
        pending.append(record)
    if pending:
        flush(data, pending)
    metadata = {"ParamSize": parameters, "ParamBytes": total, "BitsPerParam": total * 8 / values}
    write_json(folder / TENSOR_CACHE, {"metadata": metadata, "records": shards})


def _encode(array: np.ndarray, half: bool) -> bytes:
    array = np.ascontiguousarray(array)
    if half:
        return (array.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def write_chat_config(
    checkpoint: Checkpoint, scheme: str, context_length: int, prefill_chunk: int, folder: Path
) -> None:
    """Write mlc-chat-config.json and copy the tokenizer, so that MLC's own tools can read the folder.

    duomem itself takes these figures from bundle.json.
    """
    for file in tokenizer_sources(checkpoint):
        shutil.copyfile(file, folder / file.name)
    write_json(folder / CHAT_CONFIG, chat_config(checkpoint, scheme, context_length, prefill_chunk))
