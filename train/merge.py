"""Merging a LoRA adapter into its base model: a plain Hugging Face folder that needs no peft.

Each sum is done in fp32 and rounded once to the type the base stores; its tokenizer and generation config come
along as they are.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import atomic_folder, sha256_input, write_json
from duomem.train.base_model import first_line, load_causal_lm, saving, weights_digest

_MARK = "duomem.json"
_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_GENERATION = "generation_config.json"
_KEPT = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "tokenizer.model",
         "vocab.json", "merges.txt", "added_tokens.json", _GENERATION)


def merge(base: Path, adapter: Path, out: Path) -> Path:
    """Write base + adapter to the folder `out` and return it. The same inputs already merged are left as
    they are. Raises UserError for a missing or damaged adapter, one that does not fit the base, or an `out`
    that holds something else.
    """
    inputs = {"base": weights_digest(base),
              "adapter": sha256_input(adapter / _WEIGHTS, "LoRA adapter"),
              "config": sha256_input(adapter / _CONFIG, "LoRA adapter")}
    if _is_merged(out, inputs):
        return out
    merged = _merged(_load_adapter(load_causal_lm(base, "auto"), adapter))
    if (base / _GENERATION).is_file():
        merged.generation_config = type(merged.generation_config)()  # else transformers may refuse the base's own
    with atomic_folder(out) as folder, saving(out):
        merged.save_pretrained(folder)
        for name in _KEPT:
            if (base / name).is_file():
                shutil.copyfile(base / name, folder / name)
        write_json(folder / _MARK, inputs)
    return out


def _merged(loaded: Any) -> Any:
    """The base model with peft's adapter in its weights, which keep their type."""
    from peft.tuners.lora import LoraLayer

    for module in loaded.modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            stored = weight.dtype
            weight.data = weight.data.float()
            module.merge()
            weight.data = weight.data.to(stored)
    return loaded.unload()


def _is_merged(out: Path, inputs: dict[str, str]) -> bool:
    """Whether `out` is made of `inputs`. Raises UserError if it must not be replaced."""
    if not out.exists():
        return False
    try:
        found = json.loads((out / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == inputs:
        return True
    is_ours = isinstance(found, dict) and set(found) == set(inputs)
    if not is_ours and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out}: exists and is no merged student: give another folder, or remove it")
    return False


def _load_adapter(model: Any, adapter: Path) -> Any:
    """peft's model of both. peft passes over weights that are missing or too many, here they are an error."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        with safe_open(adapter / _WEIGHTS, "pt") as file:
            found = set(file.keys())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing weights: they are an error below
            loaded = PeftModel.from_pretrained(model, str(adapter))
    except Exception as e:  # safetensors, json, shape and key errors: all mean this adapter cannot be used
        raise UserError(f"{adapter}: this adapter is damaged or of another base model ({first_line(e)}): "
                        "train or copy it again") from None
    if odd := found ^ set(get_peft_model_state_dict(loaded)):
        raise UserError(f"{adapter / _WEIGHTS}: {len(odd)} weights are not those of this base model and "
                        f"{_CONFIG}, as {min(odd)}: train or copy the adapter again")
    return loaded
