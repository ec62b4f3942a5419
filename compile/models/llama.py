"""Llama 2 and 3, and what shares their layout, as SmolLM2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duomem.compile.models.config import DecoderConfig, Reader

_DEFAULTS = {"hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6}


def read_config(value: Mapping[str, Any], where: str) -> DecoderConfig:
    """The decoder a LlamaForCausalLM config.json describes. Raises ModelError on what is wrong or not computed."""
    reader = Reader(value, where, _DEFAULTS)
    reader.refuse("attention_bias", "mlp_bias")
    return reader.config(activation=reader.activation("hidden_act"))
