"""Gemma 2: sandwich norms of weight 1 + w, soft caps, and a sliding window in every other layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duomem.compile.models.config import DecoderConfig, Reader

_DEFAULTS = {
    "hidden_activation": "gelu_pytorch_tanh",
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}


def read_config(value: Mapping[str, Any], where: str) -> DecoderConfig:
    """The decoder a Gemma2ForCausalLM config.json describes. Raises ModelError on what is wrong or not computed."""
    reader = Reader(value, where, _DEFAULTS)
    reader.refuse("attention_bias", "use_bidirectional_attention")
    alternating = tuple(i % 2 == 0 for i in range(reader.integer("num_hidden_layers")))
    return reader.config(
        activation=reader.activation("hidden_activation"),
        attention_scale=reader.integer("query_pre_attn_scalar") ** -0.5,
        attention_softcap=reader.real("attn_logit_softcapping"),
        final_softcap=reader.real("final_logit_softcapping"),
        sliding_window=reader.integer("sliding_window"),
        sliding_layers=reader.sliding(alternating),
        embedding_scale=reader.integer("hidden_size") ** 0.5,
        norm_offset=1.0,
        sandwich_norms=True,
    )
