"""A LoRA adapter on disk, in peft's format: its digests, and reading it onto its base model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from duomem.core.errors import ModelError
from duomem.core.files import sha256_input
from duomem.train.base_model import first_line

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def adapter_digests(adapter: Path) -> dict[str, str]:
    """{"adapter", "config"}: sha256 of its two files. Raises ModelError for a missing one."""
    return {
        "adapter": sha256_input(adapter / WEIGHTS, "LoRA adapter"),
        "config": sha256_input(adapter / CONFIG, "LoRA adapter"),
    }


def load_adapter(model: Any, adapter: Path, trainable: bool = False) -> Any:
    """peft's model of both, the adapter in fp32 if `trainable`. Raises ModelError, also for weights that are missing
    or too many, which peft passes over.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        with safe_open(adapter / WEIGHTS, "pt") as file:
            found = set(file.keys())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing weights: they are an error below
            loaded = PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable)
    except Exception as e:  # safetensors, json, shape and key errors: all mean this adapter cannot be used
        raise ModelError(
            f"{adapter}: this adapter is damaged or of another base model ({first_line(e)}): train or copy it again"
        ) from None
    if odd := found ^ set(get_peft_model_state_dict(loaded)):
        raise ModelError(
            f"{adapter / WEIGHTS}: {len(odd)} weights are not those of this base model and "
            f"{CONFIG}, as {min(odd)}: train or copy the adapter again"
        )
    return loaded
