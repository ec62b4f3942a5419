"""Will this bundle fit? Its weights, KV cache and workspace against the memory this device has, before loading.

Running out of memory later kills the process without a word; this says the number and what lowers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from duomem.core.errors import DeviceError
from duomem.core.memory import Limit, all_memory
from duomem.device.engine.bundle import ALL_CHUNK, Bundle

RUNTIME = 80 << 20
"""Bytes for numpy, TVM's runtime and the code of a library, beyond bare Python (83 MB measured on x86-64 Linux)."""
TOKENIZER = 10
"""Bytes in memory for each byte of tokenizer.json (35 MB for 3.5 MB measured)."""

_FLOAT = 4
_LOGIT_COPIES = 3
"""The library's own, the caller's copy, and the pieces put together."""
_SHARDS = "model/params_shard_*.bin"
_SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")
_SHORTEST = 256
"""Tokens of context below which a student cannot finish a game, so less is no advice."""
_SHARED = 0.9
"""Share of the machine's memory from which on a GPU's is the same memory, as on a Jetson."""


@dataclass(frozen=True)
class Need:
    """Bytes a loaded bundle takes once every page of its KV cache is in use; runtime: TVM's and the tokenizer."""

    weights: int
    kv_cache: int
    workspace: int
    runtime: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.workspace + self.runtime


def memory_need(bundle: Bundle, context_length: int | None = None, max_sessions: int = 4) -> Need:
    """What loading `bundle` takes, from its manifest alone. context_length: tokens a session, all by default."""
    context = bundle.manifest["context"]
    length = bundle.context_length if context_length is None else context_length
    return Need(
        weights_bytes(bundle.manifest["files"]),
        kv_bytes(context, length, max_sessions),
        workspace_bytes(bundle.manifest["model"]["config"], bundle.vocab_size, context["prefill_chunk"]),
        RUNTIME + TOKENIZER * bundle.manifest["files"]["model/tokenizer.json"]["size"],
    )


def weights_bytes(files: dict[str, Any]) -> int:
    """Bytes of the weights; files: bundle.json's field. The kernels keep them in the bits they are stored in."""
    return sum(entry["size"] for name, entry in files.items() if PurePosixPath(name).match(_SHARDS))


def kv_bytes(context: dict[str, Any], length: int, sessions: int) -> int:
    """Bytes of a KV pool for `sessions` sessions of `length` tokens; context: bundle.json's field.

    Pages are whole, and TVM adds one.
    """
    page = context["page_size"]
    pages = -(-length // page) * sessions + 1
    return pages * page * context["kv_bytes_per_token"]


def workspace_bytes(config: dict[str, Any], vocab_size: int, chunk: int) -> int:
    """Bytes of what a prefill of `chunk` tokens holds at once: the widest layer and the logits, in float32.

    config: the model's sizes, bundle.json's field model.config; one that is missing counts nothing.
    """
    hidden, intermediate, heads, kv_heads, dim = (_size(config.get(name)) for name in _SIZES)
    floats = 3 * hidden + 2 * (heads + kv_heads) * dim + 3 * intermediate
    logits = min(ALL_CHUNK, chunk) * vocab_size * _LOGIT_COPIES
    return (chunk * floats + logits) * _FLOAT


def _size(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 32 else 0


def gpu_memory(device: Any) -> Limit | None:
    """What a TVM `device` other than the CPU has of its own; None where it does not tell, or shares the CPU's.

    CUDA tells what is free, Metal what a program should use at most, Vulkan nothing.
    """
    total = device.total_global_memory
    if total is None or total >= _SHARED * (all_memory() or total):
        return None
    free = device.available_global_memory
    return Limit(total, "all of the GPU's memory") if free is None else Limit(free, "free memory of the GPU")


def check_memory(need: Need, limit: Limit | None, bundle: Bundle, context_length: int, max_sessions: int) -> None:
    """Raise DeviceError if `need` exceeds `limit`, naming both and what context_length or max_sessions would fit."""
    if limit is None or need.total <= limit.bytes:
        return
    parts = (
        f"weights {_mb(need.weights)}, KV cache {_mb(need.kv_cache)} for {max_sessions} "
        f"session{'s' if max_sessions > 1 else ''} of {context_length} tokens, workspace {_mb(need.workspace)}, "
        f"runtime {_mb(need.runtime)}"
    )
    raise DeviceError(
        f"{bundle.folder}: needs {_mb(need.total)} MB of memory ({parts}), {_mb(limit.bytes)} MB are left "
        f"({limit.name}): {_advice(need, limit, bundle, max_sessions)}"
    )


def _advice(need: Need, limit: Limit, bundle: Bundle, sessions: int) -> str:
    fixed = need.total - need.kv_cache
    context = bundle.manifest["context"]
    page, token = context["page_size"], context["kv_bytes_per_token"]
    for count in dict.fromkeys((sessions, min(sessions, 2), 1)):
        pages = ((limit.bytes - fixed) // (page * token) - 1) // count
        if pages * page >= min(_SHORTEST, bundle.context_length):
            fewer = f" and max_sessions of {count}" if count < sessions else ""
            return f"give a --context of at most {min(pages * page, bundle.context_length)}{fewer}, or free memory"
    return (
        f"no --context fits, as {_mb(fixed)} MB go to the rest: free memory, or compile a smaller student "
        "or a smaller --quant"
    )


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f}"
