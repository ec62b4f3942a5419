from __future__ import annotations

from typing import Any

import pytest

from duomem.compile.models import FAMILIES, architecture_of, llama
from duomem.compile.models.config import DecoderConfig
from duomem.core.errors import UserError

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


def read(**more: Any) -> DecoderConfig:
    return llama.read_config(SIZES | more, "config.json")


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
    assert DecoderConfig(**config.to_json()) == config


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
    assert [w.name for w in read(tie_word_embeddings=True).weights()][-1] == "model.norm.weight"


def config_of(architecture: str, **value: Any) -> DecoderConfig:
    return FAMILIES[architecture].read_config(SIZES | value, "config.json")


@pytest.mark.parametrize(
    "layout",
    [
        {
            "rope_theta": 5e4,
            "rope_local_base_freq": 300.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "sliding_window_pattern": 2,
        },
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
            },
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ],
)
def test_gemma3_is_read_from_both_layouts(layout: dict) -> None:
    config = config_of("Gemma3ForCausalLM", sliding_window=512, **layout)
    assert config.sliding_layers == (True, False) and (config.window(0), config.window(1)) == (512, 0)
    assert config.rope(0) == (300.0, {})
    assert config.rope(1) == (5e4, {"rope_type": "linear", "factor": 8.0})


def test_gemma3_gaps_are_filled_as_transformers_does() -> None:
    """Google's own 4B config.json leaves most of it out."""
    from transformers import Gemma3TextConfig

    sizes = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    theirs = Gemma3TextConfig(**sizes)
    ours = FAMILIES["Gemma3ForConditionalGeneration"].read_config({"text_config": sizes}, "config.json")
    for name in (
        "vocab_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "sliding_window",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.sliding_layers == tuple(kind == "sliding_attention" for kind in theirs.layer_types)
    assert ours.rope(5) == (theirs.rope_parameters["full_attention"]["rope_theta"], {})
    assert ours.rope(0) == (theirs.rope_parameters["sliding_attention"]["rope_theta"], {})


@pytest.mark.parametrize(
    ("architecture", "change", "message"),
    [
        ("Qwen2ForCausalLM", {"use_sliding_window": True}, "use_sliding_window"),
        ("Qwen2ForCausalLM", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "yarn"),
        ("Qwen3ForCausalLM", {"attention_bias": True}, "attention_bias"),
        ("Qwen3ForCausalLM", {"layer_types": ["sliding_attention"] * 2}, "layer_types"),
        ("Gemma2ForCausalLM", {"layer_types": ["full_attention"]}, "layer_types is not 2 times"),
        ("Gemma2ForCausalLM", {"sliding_window": None}, "sliding_window"),
        ("Gemma2ForCausalLM", {"attn_logit_softcapping": -1}, "attn_logit_softcapping"),
        ("Gemma2ForCausalLM", {"hidden_activation": "gelu"}, "hidden_activation is 'gelu'.*gelu_pytorch_tanh"),
        ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("Gemma3ForCausalLM", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("Gemma3ForCausalLM", {"rope_parameters": {"full_attention": 3}}, "rope_parameters"),
        (
            "Gemma3ForCausalLM",
            {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
            "sliding layers",
        ),
        ("Gemma3ForConditionalGeneration", {}, "text_config"),
        ("LlamaForCausalLM", {"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "linear"}}, "factor of the linear rope"),
        ("LlamaForCausalLM", {"rope_theta": "many"}, "rope_theta"),
        ("LlamaForCausalLM", {"rms_norm_eps": "small"}, "rms_norm_eps"),
        ("LlamaForCausalLM", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("LlamaForCausalLM", {"head_dim": 15}, "head_dim"),
        ("LlamaForCausalLM", {"eos_token_id": "x"}, "eos_token_id"),
    ],
)
def test_variants_of_other_families_are_refused(architecture: str, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        config_of(architecture, **change)
    assert "config.json: field" in str(error.value) and "\n" not in str(error.value)


def test_qwen2_in_transformers_5_says_that_every_layer_is_full() -> None:
    config = config_of("Qwen2ForCausalLM", layer_types=["full_attention"] * 2, num_key_value_heads=4)
    assert config.qkv_bias and not any(config.sliding_layers)


def test_a_family_stores_what_it_says_where_mlc_looks_for_it() -> None:
    names = {
        name: [w.name for w in config_of(name, num_key_value_heads=4, head_dim=16).weights()]
        for name in FAMILIES
        if name != "Gemma3ForConditionalGeneration"
    }
    attention = "model.layers.1.self_attn."
    assert {attention + "c_attn", attention + "c_attn.bias"} <= set(names["Qwen2ForCausalLM"])
    assert {attention + "c_attn", attention + "q_norm.weight"} <= set(names["Qwen3ForCausalLM"])
    assert "model.layers.0.post_feedforward_layernorm.weight" in names["Gemma2ForCausalLM"]
    gemma3 = names["Gemma3ForCausalLM"]
    assert all(name.startswith("language_model.model.") for name in gemma3)
    assert {f"language_model.{attention}{x}_proj" for x in "qkvo"} <= set(gemma3)


@pytest.mark.parametrize("architecture", [name for name in FAMILIES if name != "Gemma3ForConditionalGeneration"])
def test_what_a_library_asks_for_is_what_is_stored(architecture: str) -> None:
    """`stored_names` of the fused projection, and of everything else, against `weights`."""
    config = config_of(architecture, num_key_value_heads=4, head_dim=16)
    for weight in config.weights():
        plain = weight.name.removeprefix(config.stored_prefix)
        if any(f".{name}" in plain for name in config.stored_qkv):
            path = plain.split("self_attn.")[0] + "self_attn.qkv_proj."
            end = "bias" if plain.endswith(".bias") else "q_weight"
            stored = weight.name if end == "bias" else weight.name + ".q_weight"
            assert stored in config.stored_names(path + end)
        else:
            assert config.stored_names(plain) == (weight.name,)
