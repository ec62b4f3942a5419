"""The model architectures duomem trains and compiles, by the name in a config.json's `architectures`.

How each is read and what other formats call it is its entry in compile/models/__init__.py; a new one stands in both.
"""

from __future__ import annotations

ARCHITECTURES = (
    "LlamaForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
)
