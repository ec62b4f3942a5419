"""transformers' float32 model of a checkpoint: what a bundle is compared with and calibrated on.

Imports torch inside its functions: the command reads a checkpoint before it loads that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from duomem.compile.models.config import DecoderConfig, Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import CompileError


def load_reference(checkpoint: Checkpoint) -> Any:
    """The causal language model in float32, for inference; of a model that also sees, its text decoder.

    Raises CompileError if transformers cannot load it.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    # transformers' fused attention knows no soft caps.
    attention = "eager" if checkpoint.config.attention_softcap else "sdpa"
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder, dtype=torch.float32, local_files_only=True, attn_implementation=attention
        ).eval()
    except (OSError, ValueError, RuntimeError) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise CompileError(f"{checkpoint.folder}: transformers cannot load it as a reference: {reason}") from None
    if not hasattr(model.model, "language_model"):
        return model
    with torch.device("meta"):
        text = transformers.AutoModelForCausalLM.from_config(model.config.text_config).eval()
    text.model, text.lm_head = model.model.language_model, model.lm_head
    return text


def set_weight(model: Any, prefix: str, config: DecoderConfig, weight: Weight, array: np.ndarray) -> None:
    """Make `array`, float32 of `weight.shape`, the value of `weight` in `model`, source by source.

    prefix: what the sources' names begin with that the model's own do not ("" for a whole model).
    """
    import torch

    with torch.no_grad():
        for source, part in split(config, weight, array):
            model.get_parameter(source.removeprefix(prefix)).copy_(torch.from_numpy(part))


def split(config: DecoderConfig, weight: Weight, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The sources of `weight` and their values, float32, of `array`, its own."""
    row = 0
    for source in weight.sources:
        rows = config.source_rows(source)
        part = array[row : row + rows]
        yield source, part - np.float32(weight.offset) if weight.offset else part
        row += rows
