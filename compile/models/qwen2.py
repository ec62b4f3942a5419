"""Qwen 2 and 2.5: Llama with biases on the query, key and value projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duomem.compile.models.config import DecoderConfig, Reader

_DEFAULTS = {
    "hidden_act": "silu",
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
}


def read_config(value: Mapping[str, Any], where: str) -> DecoderConfig:
    """The decoder a Qwen2ForCausalLM config.json describes. Raises ModelError on what is wrong or not computed."""
    reader = Reader(value, where, _DEFAULTS)
    reader.refuse("use_sliding_window")
    return reader.config(activation=reader.activation("hidden_act"), qkv_bias=True, stored_qkv=("c_attn",))
