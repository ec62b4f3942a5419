"""transformers' float32 model of a checkpoint, whole: what is loaded layer by layer is compared with it."""

from __future__ import annotations

from typing import Any

from duomem.compile.weights.checkpoint import Checkpoint


def load_reference(checkpoint: Checkpoint) -> Any:
    """The causal language model in float32, for inference; of a model that also sees, its text decoder."""
    import torch
    import transformers

    # transformers' fused attention knows no soft caps.
    attention = "eager" if checkpoint.config.attention_softcap else "sdpa"
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint.folder, dtype=torch.float32, local_files_only=True, attn_implementation=attention
    ).eval()
    if not hasattr(model.model, "language_model"):
        return model
    with torch.device("meta"):
        text = transformers.AutoModelForCausalLM.from_config(model.config.text_config).eval()
    text.model, text.lm_head = model.model.language_model, model.lm_head
    return text
