"""What the GPU decoder takes: which models and schemes, and no tensor larger than every Vulkan GPU binds.

Refused here, before anything is compiled, with the limit named, rather than by a driver on a phone.
"""

from __future__ import annotations

import math

from duomem.compile.models.config import DecoderConfig
from duomem.core.errors import CompileError
from duomem.device.engine.bundle import ALL_CHUNK
from duomem.device.engine.schemes import SCHEMES
from duomem.device.engine.tvm_engine import MAX_SESSIONS

MAX_BINDING = 128 << 20
"""Bytes of WebGPU's default maxStorageBufferBindingSize, which every GPU offers."""

MAX_HEAD = 192
"""Elements of a head whose attention fits 16384 bytes, WebGPU's default maxComputeWorkgroupStorageSize."""

_FLOAT = 4
_PAGE = 16


def check_gpu(config: DecoderConfig, scheme: str, length: int, where: str, webgpu: bool = True) -> None:
    """Raise CompileError, beginning with `where`, if the GPU decoder does not compute this model or a tensor is too
    large.

    length: tokens of context, which sizes the KV cache of an engine with the usual number of sessions. webgpu:
    whether its limits on tensors and heads hold, as they do for Vulkan libraries.
    """
    if not SCHEMES[scheme].on_gpu:
        known = " and ".join(name for name, other in SCHEMES.items() if other.on_gpu)
        raise CompileError(f"{where}: computes --quant {known} only, not {scheme}")
    special = {
        "sandwich norms": config.sandwich_norms,
        "soft caps": config.attention_softcap or config.final_softcap,
        "sliding windows": any(config.sliding_layers),
        "scaled embeddings": config.embedding_scale != 1,
        f"the activation {config.activation}": config.activation != "silu",
    }
    if found := [name for name, present in special.items() if present]:
        raise CompileError(f"{where}: does not compute models with {' or '.join(found)}: use a CPU target")
    if webgpu and config.head_dim > MAX_HEAD:
        raise CompileError(
            f"{where}: attention of heads of {config.head_dim} elements needs more than "
            "maxComputeWorkgroupStorageSize = 16384 bytes, which is all that every GPU gives: use a CPU target"
        )
    for name, size, fix in _tensors(config, scheme, length) if webgpu else ():
        if size > MAX_BINDING:
            raise CompileError(
                f"{where}: {name} is {size} bytes, above maxStorageBufferBindingSize = {MAX_BINDING}, which is all "
                f"that every GPU binds: {fix}"
            )


def _tensors(config: DecoderConfig, scheme: str, length: int) -> list[tuple[str, int, str]]:
    """(name, bytes, what makes it smaller) of the largest tensors of each kind."""
    bits = SCHEMES[scheme].bits
    sizes = [
        (
            weight.name,
            math.prod(weight.shape) * bits // 8,
            "use a CPU target, or a model with a smaller one",
        )
        for weight in config.weights()
        if weight.is_matrix
    ]
    layer = 2 * config.kv_size * _FLOAT
    slots = (-(-length // _PAGE) * MAX_SESSIONS + 1) * _PAGE
    logits = ALL_CHUNK * config.vocab_size * _FLOAT
    return [
        max(sizes, key=lambda entry: entry[1]),
        (f"a layer's KV cache of {MAX_SESSIONS} x {length} tokens", slots * layer, "lower --context"),
        (f"the logits of {ALL_CHUNK} tokens", logits, "use a CPU target, or a model with fewer tokens"),
    ]
