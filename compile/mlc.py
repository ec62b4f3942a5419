"""Writing a model folder in MLC's layout: params_shard_*.bin, tensor-cache.json, mlc-chat-config.json.

Tensors stream through, one shard in memory at a time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from duomem.base.files import write_json
from duomem.compile.checkpoint import TOKENIZER_FILES, Checkpoint
from duomem.compile.quantise import Stored
from duomem.device.weights import TENSOR_CACHE

CHAT_CONFIG = "mlc-chat-config.json"
_SHARD_BYTES = 32 << 20


def write_weights(tensors: Iterable[Stored], folder: Path) -> None:
    """Write `tensors` to `folder` as shards of about 32 MiB and list them in tensor-cache.json.

    A tensor of at least half a shard gets one of its own, as in TVM's own writer.
    """
    shards: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []
    data = bytearray()
    parameters = total = bits = 0

    def flush(content: bytes | bytearray, records: list[dict[str, Any]]) -> None:
        name = f"params_shard_{len(shards)}.bin"
        (folder / name).write_bytes(content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        shards.append(
            {
                "dataPath": name,
                "format": "raw-shard",
                "nbytes": len(content),
                "records": records,
                "md5sum": md5,
            }
        )

    for tensor in tensors:
        content = _encode(tensor)
        record = {
            "name": tensor.name,
            "shape": list(tensor.array.shape),
            "dtype": str(tensor.array.dtype),
            "format": "f32-to-bf16" if tensor.half else "raw",
            "nbytes": len(content),
            "byteOffset": 0,
        }
        parameters += 1
        total += tensor.array.nbytes
        bits += tensor.array.size * (8 if tensor.array.dtype == np.uint32 else 0 if tensor.half else 1)
        if len(content) * 2 >= _SHARD_BYTES:
            flush(content, [record])
            continue
        if len(data) + len(content) > _SHARD_BYTES:
            flush(data, pending)
            data, pending = bytearray(), []
        record["byteOffset"] = len(data)
        data += content
        pending.append(record)
    if pending:
        flush(data, pending)
    metadata = {"ParamSize": parameters, "ParamBytes": total, "BitsPerParam": total * 8 / bits}
    write_json(folder / TENSOR_CACHE, {"metadata": metadata, "records": shards})


def _encode(tensor: Stored) -> bytes:
    array = np.ascontiguousarray(tensor.array)
    if tensor.half:
        return (array.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def write_chat_config(
    checkpoint: Checkpoint, scheme: str, context_length: int, prefill_chunk: int, folder: Path
) -> None:
    """Write mlc-chat-config.json and copy the tokenizer, so that MLC's own tools can read the folder.

    duomem itself takes these figures from bundle.json.
    """
    config = checkpoint.config
    tokenizer_files = [name for name in TOKENIZER_FILES if (checkpoint.folder / name).is_file()]
    for name in tokenizer_files:
        shutil.copyfile(checkpoint.folder / name, folder / name)
    model_config = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "rms_norm_eps": config.rms_norm_eps,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_word_embeddings,
        "position_embedding_base": config.rope_theta,
        "rope_scaling": config.rope_scaling or None,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "context_window_size": context_length,
        "prefill_chunk_size": prefill_chunk,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "max_batch_size": 1,
    }
    plain_template = {
        "name": "LM",
        "system_template": "{system_message}",
        "system_message": "",
        "roles": {"user": "", "assistant": ""},
        "seps": [""],
        "role_content_sep": "",
        "role_empty_sep": "",
        "stop_str": [],
        "stop_token_ids": list(config.eos_token_ids),
    }
    chat_config = {
        "version": "0.1.0",
        "model_type": "llama",
        "quantization": scheme,
        "model_config": model_config,
        "vocab_size": config.vocab_size,
        "context_window_size": context_length,
        "sliding_window_size": -1,
        "prefill_chunk_size": prefill_chunk,
        "attention_sink_size": -1,
        "tensor_parallel_shards": 1,
        "tokenizer_files": tokenizer_files,
        "conv_template": plain_template,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
    }
    write_json(folder / CHAT_CONFIG, chat_config)
