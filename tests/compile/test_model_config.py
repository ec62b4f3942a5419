from __future__ import annotations

from typing import Any

import pytest

from duomem.base.errors import UserError
from duomem.compile.models import architecture_of
from duomem.compile.models.config import LlamaConfig

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def read(**more: Any) -> LlamaConfig:
    return LlamaConfig.from_hf(SIZES | more, "config.json")


@pytest.mark.parametrize(
    ("layout", "theta", "scaling"),
    [
        ({"rope_theta": 500.0}, 500.0, {}),
        ({"rope_theta": 500.0, "rope_scaling": None}, 500.0, {}),
        ({"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, 500.0, {}),
        ({}, 10000.0, {}),
        ({"rope_theta": 500.0, "rope_scaling": LLAMA3}, 500.0, LLAMA3),
        ({"rope_parameters": LLAMA3 | {"rope_theta": 500.0}}, 500.0, LLAMA3),
    ],
)
def test_rope_is_read_from_both_layouts(layout: dict, theta: float, scaling: dict) -> None:
    config = read(**layout)
    assert (config.rope_theta, config.rope_scaling) == (theta, scaling)


def test_defaults_are_filled_and_survive_json() -> None:
    config = read(eos_token_id=[1, 2])
    assert (config.num_key_value_heads, config.head_dim, config.eos_token_ids) == (4, 16, (1, 2))
    assert LlamaConfig(**config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "hidden_size"),
        ({"vocab_size": "300"}, "vocab_size"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_scaling": {"type": "yarn"}}, "yarn"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "factor"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
    ],
)
def test_what_is_not_computed_is_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(**change)


@pytest.mark.parametrize("value", [{}, {"architectures": ["GPT2LMHeadModel"]}, {"architectures": "x"}])
def test_other_architectures_are_refused_naming_the_known(value: dict) -> None:
    with pytest.raises(UserError, match="LlamaForCausalLM"):
        architecture_of(value, "config.json")


def test_weights_follow_mlc_names() -> None:
    names = [weight.name for weight in read().weights()]
    assert names[0] == "model.embed_tokens" and names[-1] == "lm_head"
    assert "model.layers.1.self_attn.qkv_proj" in names and "model.layers.0.mlp.gate_up_proj" in names
    assert [w.name for w in read(tie_word_embeddings=True).weights()][-1] == "model.norm"
