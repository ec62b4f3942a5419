"""Gemma 3, the text decoder: Gemma 2 without score caps, with query and key norms and two rotations.

Five layers of six slide and rotate with a base of their own. MLC keeps the three projections apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duomem.compile.models.config import DecoderConfig, Reader
from duomem.core.errors import ModelError

_DEFAULTS = {
    "vocab_size": 262208,
    "hidden_activation": "gelu_pytorch_tanh",
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
}
_THETA, _LOCAL_THETA = 1e6, 1e4
_VISION = ("vision_tower.", "multi_modal_projector.")
_LANGUAGE = ("model.language_model.", "language_model.model.")


def read_config(value: Mapping[str, Any], where: str) -> DecoderConfig:
    """The decoder a Gemma3ForCausalLM config.json describes. Raises ModelError on what is wrong or not computed."""
    reader = Reader(value, where, _DEFAULTS)
    reader.refuse("attention_bias", "use_bidirectional_attention", "attn_logit_softcapping")
    period = reader.integer("sliding_window_pattern")
    usual = tuple((i + 1) % period != 0 for i in range(reader.integer("num_hidden_layers")))
    rope = reader.rope()
    if "full_attention" in rope or "sliding_attention" in rope:
        everywhere, local = rope.get("full_attention") or {}, rope.get("sliding_attention") or {}
        if reader.scaling(local):
            raise reader.error("rope_parameters", "scales the sliding layers: duomem scales the others only")
    else:
        everywhere, local = rope, {}
    return reader.config(
        activation=reader.activation("hidden_activation"),
        qk_norm=True,
        attention_scale=reader.integer("query_pre_attn_scalar") ** -0.5,
        final_softcap=reader.real("final_logit_softcapping"),
        sliding_window=reader.integer("sliding_window"),
        sliding_layers=reader.sliding(usual),
        rope_theta=reader.real("rope_theta", everywhere) or reader.real("rope_theta") or _THETA,
        rope_scaling=reader.scaling(everywhere),
        local_rope_theta=reader.real("rope_theta", local) or reader.real("rope_local_base_freq") or _LOCAL_THETA,
        embedding_scale=reader.integer("hidden_size") ** 0.5,
        norm_offset=1.0,
        sandwich_norms=True,
        stored_prefix="language_model.",
        stored_qkv=("q_proj", "k_proj", "v_proj"),
    )


def read_multimodal_config(value: Mapping[str, Any], where: str) -> DecoderConfig:
    """The text decoder of a Gemma3ForConditionalGeneration config.json."""
    text = value.get("text_config")
    if not isinstance(text, Mapping):
        raise ModelError(f"{where}: field text_config is missing: give a complete model folder")
    tokens = {name: value[name] for name in ("bos_token_id", "eos_token_id") if name in value}
    return read_config({**text, **tokens}, where)


def text_tensor(name: str) -> str | None:
    """The name in the text model alone of a tensor of the model that also sees; None for one of its eyes."""
    plain = name.removeprefix("model.")
    if name.startswith(_VISION) or plain.startswith(_VISION):
        return None
    for prefix in _LANGUAGE:
        if name.startswith(prefix):
            return "model." + name.removeprefix(prefix)
    return name.removeprefix("language_model.")
