"""Counting what a decoder costs from its definition: the bytes and operations that `device.engine.cost` describes.

Needs neither TVM nor torch; `duomem compile` stores the result in bundle.json.
"""

from __future__ import annotations

import math
from collections import Counter

from duomem.compile.models.config import DecoderConfig, Weight
from duomem.device.engine.cost import AttentionCost, DecoderCost
from duomem.device.engine.schemes import SCHEMES


def decoder_cost(config: DecoderConfig, scheme: str, kv_bytes: int) -> DecoderCost:
    """Cost of `config` stored in `scheme`, keys and values of `kv_bytes` each. Raises KeyError on an unknown scheme."""
    tables = [w for w in config.weights() if _is_table(w)]
    head = tables[-1]
    looked_up = [] if config.tie_word_embeddings else tables[:1]
    read = [w for w in config.weights() if w not in looked_up]
    layers = sum(math.prod(w.shape) for w in read if w.is_matrix and w != head)
    windows = Counter(config.window(i) for i in range(config.num_hidden_layers))
    return DecoderCost(
        weight_bytes=sum(_stored_bytes(w, scheme) for w in read),
        layer_flops=2 * layers,
        head_flops=2 * math.prod(head.shape),
        attention=tuple(
            AttentionCost(count, window, 4 * config.q_size, 2 * config.kv_size * kv_bytes)
            for window, count in sorted(windows.items())
        ),
    )


def _is_table(weight: Weight) -> bool:
    return weight.name.endswith(("embed_tokens", "lm_head"))


def _stored_bytes(weight: Weight, scheme: str) -> int:
    size = math.prod(weight.shape)
    if weight.is_matrix:
        return math.ceil(size * SCHEMES[scheme].matrix_bytes)
    return size * SCHEMES[scheme].value_bytes
