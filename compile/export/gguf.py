"""A bundle's weights as a GGUF file, value for value, so that llama.cpp can be timed on the same model.

Formats: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and ggml's block_q4_0, block_q4_1, block_q8_0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.models import FAMILIES, Family
from duomem.compile.models.config import DecoderConfig, Weight
from duomem.core.errors import CompileError
from duomem.device.engine.bundle import Bundle
from duomem.device.engine.schemes import GROUP, SCHEMES, Scheme
from duomem.device.engine.weights import Record, read_tensor_cache

_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
}
_PLAIN_NORMS = {"post_attention_layernorm": "ffn_norm"}
_SANDWICH_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


@dataclass
class Fidelity:
    """How many groups of 32 weights were written, and how many whose scale or offset float16 cannot hold exactly."""

    groups: int = 0
    inexact: int = 0


def export_gguf(bundle: Bundle, quant: str, path: Path) -> Fidelity:
    """Write the weights of `bundle` to `path` in the GGUF type `quant`, norms and biases in F32.

    The file has no vocabulary: it is for running token ids. Raises CompileError if the gguf package is missing, if
    `quant` is not one of `SCHEMES[bundle.quantization].gguf`, or if llama.cpp has no such model.
    """
    try:
        import gguf
    except ImportError:
        raise CompileError("the package gguf is missing: pip install gguf") from None
    scheme = SCHEMES[bundle.quantization]
    if quant not in scheme.gguf:
        raise CompileError(
            f"--vs-quant {quant}: weights in {scheme.name} can become {' or '.join(scheme.gguf)}: use one of those"
        )
    config, family = decoder_config(bundle), _family(bundle)
    architecture = family.gguf
    _check_sliding(config, family.gguf_sliding_period, bundle)
    records = read_tensor_cache(bundle.model_dir)
    fidelity = Fidelity()
    writer = gguf.GGUFWriter(os.fspath(path), architecture)
    _write_config(writer, config, architecture, bundle)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if quant == "F32" else f"MOSTLY_{quant}"])
    kind = gguf.GGMLQuantizationType[quant]
    for weight in config.weights():
        if weight.is_matrix:
            rows = _matrix_rows(weight, records, scheme, quant, fidelity)
        else:
            rows = np.ascontiguousarray(records[weight.name].load(), np.float32)
        for source, part in _parts(weight, config, rows):
            name, own = _gguf_name(source, config), kind if weight.is_matrix else gguf.GGMLQuantizationType.F32
            if architecture == "llama" and name.split(".")[-2] in ("attn_q", "attn_k"):
                part = _interleave(part, config.head_dim)
            writer.add_tensor(name, np.ascontiguousarray(part), raw_dtype=own)
    if config.rope_scaling.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return fidelity


def decoder_config(bundle: Bundle) -> DecoderConfig:
    """The decoder that bundle.json describes. Raises CompileError."""
    try:
        return DecoderConfig(**bundle.manifest["model"]["config"])
    except (KeyError, TypeError) as e:
        raise CompileError(
            f"{bundle.folder}/bundle.json: field model.config is not a decoder ({e}): make it again with duomem compile"
        ) from None


def rope_factors(config: DecoderConfig) -> np.ndarray:
    """float32 [head_dim / 2]: what Llama 3's scaling divides each rotation frequency by."""
    scaling = config.rope_scaling
    low, high, old = (scaling[n] for n in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"))
    wavelengths = 2 * math.pi * config.rope_theta ** (np.arange(0, config.head_dim, 2) / config.head_dim)
    smooth = np.clip((old / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / scaling["factor"] + smooth)).astype(np.float32)


def _family(bundle: Bundle) -> Family:
    name = bundle.manifest["model"]["architecture"]
    if name not in FAMILIES:
        raise CompileError(f"{bundle.folder}: duomem writes no GGUF of {name}: run without --vs")
    return FAMILIES[name]


def _check_sliding(config: DecoderConfig, period: int, bundle: Bundle) -> None:
    """GGUF files cannot say which layers slide: llama.cpp knows it by the architecture."""
    usual = tuple((i + 1) % period != 0 for i in range(config.num_hidden_layers))
    if tuple(bool(config.window(i)) for i in range(config.num_hidden_layers)) != usual:
        raise CompileError(
            f"{bundle.folder}: llama.cpp does not know this model's pattern of sliding windows: run without --vs"
        )


def _write_config(writer: Any, config: DecoderConfig, architecture: str, bundle: Bundle) -> None:
    writer.add_name(bundle.manifest["model"]["id"])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    if config.rope_scaling.get("rope_type") == "linear":
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling["factor"])
    if config.sliding_window and any(config.sliding_layers):
        writer.add_sliding_window(config.sliding_window)
    if config.attention_softcap:
        writer.add_attn_logit_softcapping(config.attention_softcap)
    if config.final_softcap:
        writer.add_final_logit_softcapping(config.final_softcap)


def _parts(weight: Weight, config: DecoderConfig, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The Hugging Face tensors that `rows` are a stack of."""
    begin = 0
    for source in weight.sources:
        end = begin + config.source_rows(source)
        yield source, rows[begin:end]
        begin = end


def _gguf_name(source: str, config: DecoderConfig) -> str:
    """GGUF's name of the Hugging Face tensor `source`."""
    path, _, end = source.rpartition(".")
    if path in _TOP:
        return f"{_TOP[path]}.{end}"
    _, _, layer, part = path.split(".", 3)
    names = _LAYER | (_SANDWICH_NORMS if config.sandwich_norms else _PLAIN_NORMS)
    return f"blk.{layer}.{names[part]}.{end}"


def _interleave(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of a query or key projection in the order of llama's GGUF files: the two halves of a head alternate,
    since llama.cpp rotates neighbours where transformers rotates a row and the one half a head away.
    """
    halves = rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _matrix_rows(
    weight: Weight, records: dict[str, Record], scheme: Scheme, quant: str, fidelity: Fidelity
) -> np.ndarray:
    """The matrix as GGUF rows: uint8 [N, bytes of K weights], or float [N, K] for the plain types."""
    if not scheme.is_quantized:
        return records[weight.name + ".weight"].load()
    q, scale = (records[f"{weight.name}.{end}"].load() for end in ("q_weight", "q_scale"))
    if scheme.transposes(weight.name):
        q, scale = q.T, scale.T
    scale = np.ascontiguousarray(scale, np.float32).reshape(-1)
    octets = np.ascontiguousarray(q).view(np.uint8)
    if scheme.bits == 8:
        blocks = _q8_0(octets.reshape(-1, GROUP), scale, fidelity)
    else:
        codes = np.stack([octets & 15, octets >> 4], axis=-1).reshape(-1, GROUP)
        blocks = (_q4_0 if quant == "Q4_0" else _q4_1)(codes, scale, fidelity)
    return blocks.reshape(weight.shape[0], -1)


def _q4_0(codes: np.ndarray, scale: np.ndarray, fidelity: Fidelity) -> np.ndarray:
    """(q - 7) s = ((15 - q) - 8) (-s)."""
    return np.concatenate([_halves([-scale], fidelity), _nibbles(15 - codes)], axis=1)


def _q4_1(codes: np.ndarray, scale: np.ndarray, fidelity: Fidelity) -> np.ndarray:
    """(q - 7) s = q s + (-7 s)."""
    return np.concatenate([_halves([scale, -7 * scale], fidelity), _nibbles(codes)], axis=1)


def _q8_0(codes: np.ndarray, scale: np.ndarray, fidelity: Fidelity) -> np.ndarray:
    """(q - 127) s = (127 - q) (-s): turned round, since q - 127 may be 128 and a byte ends at -128."""
    return np.concatenate([_halves([-scale], fidelity), 127 - codes], axis=1)


def _nibbles(codes: np.ndarray) -> np.ndarray:
    """uint8 [G, 32] -> [G, 16]: byte j holds weight j (low) and weight j + 16."""
    return codes[:, :16] | codes[:, 16:] << 4


def _halves(values: list[np.ndarray], fidelity: Fidelity) -> np.ndarray:
    """float32 [G] each -> their float16 bytes side by side, uint8 [G, 2 x len(values)]."""
    exact = np.stack(values, axis=1)
    half = exact.astype("<f2")
    fidelity.groups += len(exact)
    fidelity.inexact += int((half != exact).any(axis=1).sum())
    return half.view(np.uint8)
