"""Merging a LoRA adapter into its base model: a plain Hugging Face folder that needs no peft.

The merge is done in fp32; tokenizer and generation config come along.
"""

from __future__ import annotations

import json
from pathlib import Path

from duomem.base.errors import UserError
from duomem.base.files import atomic_folder, digest_of, sha256_file, write_json


def merge(base: Path, adapter: Path, out: Path) -> Path:
    """Write base + adapter to the folder `out` and return it. The same inputs already merged are left as
    they are. Raises UserError for a missing or damaged adapter, or one that does not fit the base.
    """
    weights = adapter / "adapter_model.safetensors"
    for file in (adapter / "adapter_config.json", weights):
        if not file.is_file():
            raise UserError(f"{file}: no such file: {adapter} is not a LoRA adapter folder")
    inputs = {"base": digest_of([sha256_file(f) for f in sorted(base.glob("*.safetensors"))]),
              "adapter": sha256_file(weights), "config": sha256_file(adapter / "adapter_config.json")}
    mark = out / "duomem.json"
    try:
        if json.loads(mark.read_text(encoding="utf-8")) == inputs:
            return out
    except (OSError, ValueError):
        pass
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    try:
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except Exception as e:  # safetensors, json, shape and key errors: all mean this adapter cannot be used
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise UserError(f"{adapter}: this adapter is damaged or of another base model ({reason}): "
                        "train or copy it again") from None
    with atomic_folder(out) as folder:
        merged.save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
        write_json(folder / "duomem.json", inputs)
    return out
