"""The architectures duomem compiles: how each one's config.json becomes a DecoderConfig."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from duomem.compile.models import gemma2, gemma3, llama, qwen2, qwen3
from duomem.compile.models.config import DecoderConfig
from duomem.core.errors import ModelError


@dataclass(frozen=True)
class Family:
    """A model family. `name` is MLC's model_type; `tensor` is the decoder's name, as transformers' causal
    model has it, of a tensor in the folder, None if the decoder does not take it.
    """

    name: str
    read_config: Callable[[Mapping[str, Any], str], DecoderConfig]
    tensor: Callable[[str], str | None] = str


FAMILIES = {
    "LlamaForCausalLM": Family("llama", llama.read_config),
    "Qwen2ForCausalLM": Family("qwen2", qwen2.read_config),
    "Qwen3ForCausalLM": Family("qwen3", qwen3.read_config),
    "Gemma2ForCausalLM": Family("gemma2", gemma2.read_config),
    "Gemma3ForCausalLM": Family("gemma3_text", gemma3.read_config),
    "Gemma3ForConditionalGeneration": Family("gemma3", gemma3.read_multimodal_config, gemma3.text_tensor),
}


def architecture_of(config: Mapping[str, Any], where: str) -> str:
    """The config.json's architecture. Raises ModelError, naming the supported ones, if it is another."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in FAMILIES:
        raise ModelError(f"{where}: architecture {name!r} is not supported: use one of {', '.join(FAMILIES)}")
    return name
