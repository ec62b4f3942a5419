"""The architectures duomem compiles: how each one's config.json becomes a DecoderConfig.

A new one is a new entry in FAMILIES, its name in core/architectures.py, its fields in MLC's chat config
(weights/mlc_config.py), and, where it computes something no other does, a field of DecoderConfig.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from duomem.compile.models import gemma2, gemma3, llama, qwen2, qwen3
from duomem.compile.models.config import DecoderConfig
from duomem.core.architectures import ARCHITECTURES
from duomem.core.errors import ModelError


@dataclass(frozen=True)
class Family:
    """A model family: what reads its config.json, and what other formats call it.

    model_type: MLC's. gguf: GGUF's `general.architecture`. gguf_sliding_period: llama.cpp takes the last of so many
    layers as full attention and the others as sliding.
    read_config: (config.json, its name for errors) -> DecoderConfig; raises ModelError.
    tensor: name of a tensor in the folder -> its name in transformers' causal model, None if the decoder does not
    take it.
    """

    model_type: str
    gguf: str
    read_config: Callable[[Mapping[str, Any], str], DecoderConfig]
    tensor: Callable[[str], str | None] = str
    gguf_sliding_period: int = 1


FAMILIES = {
    "LlamaForCausalLM": Family("llama", "llama", llama.read_config),
    "Qwen2ForCausalLM": Family("qwen2", "qwen2", qwen2.read_config),
    "Qwen3ForCausalLM": Family("qwen3", "qwen3", qwen3.read_config),
    "Gemma2ForCausalLM": Family("gemma2", "gemma2", gemma2.read_config, gguf_sliding_period=2),
    "Gemma3ForCausalLM": Family("gemma3_text", "gemma3", gemma3.read_config, gguf_sliding_period=6),
    "Gemma3ForConditionalGeneration": Family(
        "gemma3", "gemma3", gemma3.read_multimodal_config, gemma3.text_tensor, gguf_sliding_period=6
    ),
}
"""By the names in core/architectures.py."""


def architecture_of(config: Mapping[str, Any], where: str) -> str:
    """The config.json's architecture. Raises ModelError, naming the supported ones, if it is another."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in ARCHITECTURES:
        raise ModelError(f"{where}: architecture {name!r} is not supported: use one of {', '.join(ARCHITECTURES)}")
    return name
