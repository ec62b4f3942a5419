"""The JSON files MLC's tools read: mlc-chat-config.json for each family, mlc-package-config.json for the apps.

Field names and values follow mlc-llm (python/mlc_llm/{protocol,model,conversation_template}, July 2026).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from duomem.compile.models.config import DecoderConfig
from duomem.compile.weights.checkpoint import TOKENIZER_FILES, Checkpoint
from duomem.core.errors import CompileError
from duomem.device.agent.tokenizer_file import read_tokenizer
from duomem.device.engine.schemes import SCHEMES

APPS = {"android": "android", "ios": "iphone"}
"""MLC's app packages: folder here, `device` in mlc-package-config.json."""

_STUDENT_MARK = "duomem.json"  # what `duomem student merge` leaves in a model folder
_APP_CHUNK = 128
_APP_WORKSPACE = 256 << 20  # bytes


def check_mlc(checkpoint: Checkpoint, scheme: str) -> None:
    """Raise CompileError unless mlc-llm computes this model in this scheme."""
    if not SCHEMES[scheme].in_mlc:
        known = ", ".join(name for name, other in SCHEMES.items() if other.in_mlc)
        raise CompileError(f"--quant {scheme}: mlc-llm has no such scheme: use one of {known}")
    config, family = checkpoint.config, checkpoint.family.model_type
    kind = config.rope_scaling.get("rope_type")
    if kind is not None and (family, kind) != ("llama", "llama3"):
        raise CompileError(
            f"{checkpoint.folder}: mlc-llm computes no {kind} rope scaling for {family}: use --format bundle"
        )
    if family == "qwen2" and config.q_size != config.hidden_size:
        raise CompileError(f"{checkpoint.folder}: mlc-llm wants head_dim x heads = hidden_size: use --format bundle")


def chat_config(checkpoint: Checkpoint, scheme: str, context_length: int, prefill_chunk: int) -> dict[str, Any]:
    """The content of mlc-chat-config.json. context_length, prefill_chunk: tokens."""
    config, family = checkpoint.config, checkpoint.family.model_type
    return {
        "version": "0.1.0",
        "model_type": family,
        "quantization": scheme,
        "model_config": _model_config(checkpoint, context_length, prefill_chunk),
        "vocab_size": config.vocab_size,
        "context_window_size": context_length,
        "sliding_window_size": -1,
        "prefill_chunk_size": prefill_chunk,
        "attention_sink_size": -1,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "active_vocab_size": config.vocab_size,
        "temperature": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "top_p": 1.0,
        "tokenizer_files": [file.name for file in tokenizer_sources(checkpoint)],
        "tokenizer_info": {
            "token_postproc_method": "byte_fallback"
            if checkpoint.family.model_type.startswith("gemma")
            else "byte_level",
            "prepend_space_in_encode": False,
            "strip_space_in_decode": False,
        },
        "conv_template": conversation(checkpoint),
        "pad_token_id": 0,
        "bos_token_id": 1 if config.bos_token_id is None else config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids) or 2,
        "model_task": "chat",
    }


def _model_config(checkpoint: Checkpoint, context_length: int, prefill_chunk: int) -> dict[str, Any]:
    """The `model_config`: sizes, how to run, and what MLC's config class of the family takes beside them."""
    config = checkpoint.config
    sizes: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.rms_norm_eps,
        "vocab_size": config.vocab_size,
    }
    run = {
        "context_window_size": context_length,
        "prefill_chunk_size": prefill_chunk,
        "tensor_parallel_shards": 1,
        "max_batch_size": 1,
    }
    return _FAMILY_FIELDS[checkpoint.family.model_type](config, sizes, run)


def _llama_fields(config: DecoderConfig, sizes: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    own = {
        "tie_word_embeddings": config.tie_word_embeddings,
        "position_embedding_base": _theta(config),
        "rope_scaling": config.rope_scaling or None,
    }
    return {**sizes, **own, **run, "pipeline_parallel_stages": 1}


def _qwen2_fields(config: DecoderConfig, sizes: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    own = {"hidden_act": "silu", "rope_theta": _theta(config), "dtype": "float32"}
    return {**sizes, "tie_word_embeddings": config.tie_word_embeddings, **own, **run}


def _qwen3_fields(config: DecoderConfig, sizes: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    return {**_qwen2_fields(config, sizes, run), "attention_bias": config.qkv_bias}


def _gemma2_fields(config: DecoderConfig, sizes: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    own = {
        "attn_logit_softcapping": config.attention_softcap or None,
        "final_logit_softcapping": config.final_softcap or None,
        "sliding_window": config.sliding_window,
    }
    return {**sizes, **_gemma_fields(config), **own, **run}


def _gemma3_fields(config: DecoderConfig, sizes: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    window = {"sliding_window_size": config.sliding_window}
    text = {**sizes, **_gemma_fields(config), **window, **run}
    return {**sizes, **run, "text_config": text, **window}


def _gemma_fields(config: DecoderConfig) -> dict[str, Any]:
    return {
        "attention_bias": False,
        "hidden_activation": "gelu_pytorch_tanh",
        "position_embedding_base": _theta(config),
        "query_pre_attn_scalar": round(config.attention_scale**-2),
    }


def _theta(config: DecoderConfig) -> float:
    return int(config.rope_theta) if float(config.rope_theta).is_integer() else config.rope_theta


_FAMILY_FIELDS = {
    "llama": _llama_fields,
    "qwen2": _qwen2_fields,
    "qwen3": _qwen3_fields,
    "gemma2": _gemma2_fields,
    "gemma3_text": _gemma3_fields,
    "gemma3": _gemma3_fields,
}
"""By MLC's model_type."""


def conversation(checkpoint: Checkpoint) -> dict[str, Any]:
    """The `conv_template`: of the chat format whose tokens the tokenizer has, by family; plain text for duomem's own
    students, which read duomem's prompt, and for a model without such tokens.
    """
    family, config = checkpoint.family.model_type, checkpoint.config
    tokenizer = read_tokenizer(checkpoint.folder)
    student = (checkpoint.folder / _STUDENT_MARK).is_file()

    def speaks(token: str) -> bool:
        return not student and tokenizer.token_to_id(token) is not None

    prefix = [] if config.bos_token_id is None else [config.bos_token_id]
    if family in ("llama", "qwen2", "qwen3") and speaks("<|im_start|>"):
        name = "chatml" if family == "llama" else family
        return _template(
            checkpoint,
            tokenizer,
            name,
            "<|im_start|>system\n{system_message}<|im_end|>\n",
            ("<|im_start|>user", "<|im_start|>assistant"),
            "\n",
            "<|im_end|>\n",
            ["<|im_end|>"],
            message="You are a helpful assistant.",
            strip_reasoning_in_history=family == "qwen3",
        )
    if family == "llama" and speaks("<|start_header_id|>"):
        return _template(
            checkpoint,
            tokenizer,
            "llama-3_1" if config.rope_scaling else "llama-3",
            "<|start_header_id|>system<|end_header_id|>\n\n{system_message}<|eot_id|>",
            ("<|start_header_id|>user", "<|start_header_id|>assistant"),
            "<|end_header_id|>\n\n",
            "<|eot_id|>",
            ["<|eot_id|>"],
            message="You are a helpful, respectful and honest assistant.",
            system_prefix_token_ids=prefix,
        )
    if family.startswith("gemma") and speaks("<start_of_turn>"):
        return _template(
            checkpoint,
            tokenizer,
            "gemma_instruction" if family == "gemma2" else "gemma3_instruction",
            "{system_message}",
            ("<start_of_turn>user", "<start_of_turn>model"),
            "\n",
            "<end_of_turn>\n",
            ["<end_of_turn>"],
            system_prefix_token_ids=prefix,
        )
    return _template(checkpoint, tokenizer, "LM", "{system_message}", ("", ""), "", "", [])


def _template(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    name: str,
    system: str,
    roles: tuple[str, str],
    role_sep: str,
    sep: str,
    stops: list[str],
    message: str = "",
    **more: Any,
) -> dict[str, Any]:
    ends = {*checkpoint.config.eos_token_ids, *filter(None, map(tokenizer.token_to_id, stops))}
    return {
        "name": name,
        "system_template": system,
        "system_message": message,
        "add_role_after_system_message": True,
        "roles": dict(zip(("user", "assistant"), roles, strict=True)),
        "role_templates": {"user": "{user_message}", "assistant": "{assistant_message}", "tool": "{tool_message}"},
        "messages": [],
        "seps": [sep],
        "role_content_sep": role_sep,
        "role_empty_sep": role_sep,
        "stop_str": stops,
        "stop_token_ids": sorted(ends),
        "function_string": "",
        "use_function_calling": False,
        **more,
    }


def package_config(
    model: str, model_id: str, device: str, weights: int, kv: int, context_length: int
) -> dict[str, Any]:
    """The content of mlc-package-config.json for one app. model: path of the model folder from that file's folder.
    weights, kv: bytes. context_length: tokens.
    """
    return {
        "device": device,
        "model_list": [
            {
                "model": model,
                "model_id": model_id,
                "estimated_vram_bytes": weights + kv + _APP_WORKSPACE,
                "bundle_weight": True,
                "overrides": {
                    "prefill_chunk_size": min(_APP_CHUNK, context_length),
                    "context_window_size": context_length,
                },
            }
        ],
    }


def tokenizer_sources(checkpoint: Checkpoint) -> list[Path]:
    """The tokenizer files to copy beside mlc-chat-config.json."""
    return [file for name in TOKENIZER_FILES if (file := checkpoint.folder / name).is_file()]
