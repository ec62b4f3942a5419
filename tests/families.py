"""Tiny random models of every family, in transformers' classes."""

from __future__ import annotations

from typing import Any

WINDOW = 24
"""Tokens a sliding layer sees: less than the engine takes at once, more than a page of the cache."""

SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 50000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
}
GEMMA: dict[str, Any] = {"head_dim": 32, "query_pre_attn_scalar": 20, "sliding_window": WINDOW}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": False}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 3e4, "rope_type": "default"}}),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
    "gemma2": (
        "Gemma2",
        GEMMA | {"num_hidden_layers": 3, "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0},
    ),
    "gemma3": (
        "Gemma3",
        GEMMA
        | {
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            "rope_parameters": GEMMA3_ROPE,
        },
    ),
}


def randomize(model: Any) -> None:
    """Parameters of a size that matters: norms and biases as they are initialized would test nothing."""
    import torch

    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            parameter.data += 0.3 * noise
        elif name.endswith("bias"):
            parameter.data = 0.5 * noise
        else:
            parameter.data = noise * parameter.shape[-1] ** -0.5 * 1.5


def text_model(variant: str, **changes: Any) -> Any:
    """A tiny random model of the variant's family; changes: of its config."""
    import transformers

    family, special = VARIANTS[variant]
    config_class = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, config_class)(**SIZES | special | changes, attn_implementation="eager")
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    randomize(model)
    model.tie_weights()
    return model
