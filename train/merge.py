"""Merging a LoRA adapter into its base model: a plain Hugging Face folder that needs no peft.

Each sum is done in fp32 and rounded once to the type the base stores; its tokenizer and generation config come
along as they are.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from duomem.core.claim import claimed
from duomem.core.errors import ModelError
from duomem.core.files import write_json
from duomem.core.progress import progress
from duomem.train.adapter import adapter_digests, load_adapter
from duomem.train.base_model import load_causal_lm, saving, weights_digest
from duomem.train.holdout import RECORD, read_hold_out

_GENERATION = "generation_config.json"
_KEPT = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    _GENERATION,
)


def merge(base: Path, adapter: Path, out: Path) -> Path:
    """Write base + adapter to the folder `out` and return it. The same inputs already merged are left as
    they are. Raises ModelError for a missing or damaged adapter, one that does not fit the base, or an `out`
    that holds something else.
    """
    inputs = {"base": weights_digest(base), **adapter_digests(adapter), "held_out": read_hold_out(adapter).record()}
    with claimed(out) as claim, progress(None, "merging"):
        if _is_merged(out, inputs):
            return out
        merged = _merged(load_adapter(load_causal_lm(base, "auto"), adapter))
        if (base / _GENERATION).is_file():
            merged.generation_config = type(merged.generation_config)()  # else transformers may refuse the base's own
        with claim.folder() as folder, saving(out):
            merged.save_pretrained(folder)
            for name in _KEPT:
                if (base / name).is_file():
                    shutil.copyfile(base / name, folder / name)
            write_json(folder / RECORD, inputs)
    return out


def _merged(loaded: Any) -> Any:
    """The base model with peft's adapter in its weights, which keep their type."""
    from peft.tuners.lora import LoraLayer

    for module in loaded.modules():
        if isinstance(module, LoraLayer):
            weight: Any = module.get_base_layer().weight
            stored = weight.dtype
            weight.data = weight.data.float()
            module.merge()
            weight.data = weight.data.to(stored)
    return loaded.unload()


def _is_merged(out: Path, inputs: dict[str, Any]) -> bool:
    """Whether `out` is made of `inputs`. Raises ModelError if it must not be replaced."""
    if not out.exists():
        return False
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == inputs:
        return True
    is_ours = isinstance(found, dict) and {"base", "adapter", "config"} <= set(found)
    if not is_ours and not (out.is_dir() and not any(out.iterdir())):
        raise ModelError(f"--out {out}: exists and is no merged student: give another folder, or remove it")
    return False
