"""A bundle as GGUF: read back with gguf's own reader and dequantizers, every weight is the bundle's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.compile.export.gguf import export_gguf, rope_factors
from duomem.compile.models.config import DecoderConfig, Weight
from duomem.compile.weights.mlc_layout import write_weights
from duomem.compile.weights.quantize import store
from duomem.core.errors import UserError
from duomem.device.engine.bundle import Bundle
from duomem.device.engine.schemes import SCHEMES
from duomem.device.engine.weights import Record, read_tensor_cache

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")

LLAMA = DecoderConfig(64, 96, 2, 4, 50, num_key_value_heads=2, head_dim=16, rope_theta=20000.0)
FAMILIES = {
    "LlamaForCausalLM": LLAMA,
    "Qwen2ForCausalLM": dataclasses.replace(LLAMA, qkv_bias=True, stored_qkv=("c_attn",)),
    "Qwen3ForCausalLM": dataclasses.replace(LLAMA, qk_norm=True, tie_word_embeddings=True, stored_qkv=("c_attn",)),
    "Gemma2ForCausalLM": dataclasses.replace(
        LLAMA,
        tie_word_embeddings=True,
        sandwich_norms=True,
        sliding_window=8,
        sliding_layers=(True, False),
        attention_softcap=50.0,
        final_softcap=30.0,
    ),
    "Gemma3ForCausalLM": dataclasses.replace(
        LLAMA,
        tie_word_embeddings=True,
        sandwich_norms=True,
        qk_norm=True,
        sliding_window=8,
        sliding_layers=(True, True),
        stored_prefix="language_model.",
        stored_qkv=("q_proj", "k_proj", "v_proj"),
    ),
}


def make_bundle(folder: Path, architecture: str, config: DecoderConfig, scheme: str) -> Bundle:
    """The part of a bundle that the writer reads: random weights and the manifest's model."""
    rng = np.random.default_rng(3)
    (folder / "model").mkdir(parents=True)
    write_weights((t for w in config.weights() for t in store(w, _random(rng, w), scheme)), folder / "model")
    model = {"id": "m", "architecture": architecture, "config": config.to_json()}
    return Bundle(folder, {"model": model, "quantization": scheme})


def _random(rng: np.random.Generator, weight: Weight) -> Callable[[], Iterator[np.ndarray]]:
    values = (rng.normal(size=weight.shape) * 0.1).astype(np.float32)
    return lambda: iter([values])


def dequantize(weight: Weight, records: dict[str, Record], scheme: str) -> np.ndarray:
    """float32 of weight.shape, straight from the definition of the scheme."""
    if not weight.is_matrix:
        return records[weight.name].load().astype(np.float32)
    if scheme.startswith("q0"):
        return records[weight.name + ".weight"].load().astype(np.float32)
    words, scale = (records[f"{weight.name}.{end}"].load() for end in ("q_weight", "q_scale"))
    if scale.shape[0] != weight.shape[0]:
        words, scale = words.T, scale.T
    bits, zero = (8, 127) if scheme.startswith("q8") else (4, 7)
    values = np.empty(weight.shape, np.float32)
    for k in range(weight.shape[1]):
        word = words[:, k * bits // 32] >> np.uint32(k * bits % 32)
        level = (word & np.uint32(2**bits - 1)).astype(np.float32) - zero
        values[:, k] = level * scale[:, k // 32].astype(np.float32)
    return values


def read_gguf(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The reader, and every tensor of the file as float32."""
    reader = gguf.GGUFReader(path)
    return reader, {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type)
        .astype(np.float32)
        .reshape(tuple(reversed(t.shape.tolist())))
        for t in reader.tensors
    }


def _expected(architecture: str, config: DecoderConfig, folder: Path, scheme: str) -> dict[str, np.ndarray]:
    """The bundle's weights by Hugging Face's names; llama's queries and keys put in pairs."""
    records, found = read_tensor_cache(folder / "model"), {}
    for weight in config.weights():
        rows, begin = dequantize(weight, records, scheme), 0
        for source in weight.sources:
            end = begin + config.source_rows(source)
            part = rows[begin:end]
            if architecture == "LlamaForCausalLM" and source.split(".")[-2] in ("q_proj", "k_proj"):
                half = config.head_dim // 2
                pairs = [row for i in range(half) for row in (i, i + half)]
                order = [head + row for head in range(0, len(part), config.head_dim) for row in pairs]
                part = part[order]
            found[source] = part
            begin = end
    return found


def _hugging_face_name(name: str, config: DecoderConfig) -> str:
    """transformers' name of a GGUF tensor, by gguf's own table."""
    top = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in top:
        return top[name]
    _, layer, part, end = name.split(".")
    parts = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "pre_feedforward_layernorm" if config.sandwich_norms else "post_attention_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    return f"model.layers.{layer}.{parts[part]}.{end}"


FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7}
"""llama.cpp's numbers of them, which OpenVINO's reader asks for."""
CASES = [(scheme, quant) for scheme, kind in SCHEMES.items() for quant in kind.gguf]


@pytest.mark.parametrize(("scheme", "quant"), CASES)
@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_weight_comes_back(tmp_path: Path, architecture: str, scheme: str, quant: str) -> None:
    config = FAMILIES[architecture]
    bundle = make_bundle(tmp_path / "b", architecture, config, scheme)
    fidelity = export_gguf(bundle, quant, tmp_path / "m.gguf")
    reader, tensors = read_gguf(tmp_path / "m.gguf")
    assert reader.fields["general.file_type"].contents() == FILE_TYPES[quant]
    expected = _expected(architecture, config, bundle.folder, scheme)
    assert {_hugging_face_name(name, config) for name in tensors} == set(expected)
    for name, found in tensors.items():
        wanted = expected[_hugging_face_name(name, config)]
        if (scheme, quant) in (("q4f16_1", "Q4_1"), ("q4f16_0", "Q4_1")):
            np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
        else:
            np.testing.assert_array_equal(found, wanted)
    if (scheme, quant) in (("q4f16_1", "Q4_1"), ("q4f16_0", "Q4_1")):
        assert 0 < fidelity.inexact < fidelity.groups  # -7 s of a float16 s needs three bits more
    else:
        assert fidelity.inexact == 0


def test_all_levels_of_eight_bits_come_back(tmp_path: Path) -> None:
    """A level of +128 does not fit a signed byte as it is."""
    bundle = make_bundle(tmp_path / "b", "LlamaForCausalLM", LLAMA, "q8f16_1")
    record = read_tensor_cache(bundle.model_dir)["model.embed_tokens.q_weight"]
    data = bytearray(record.file.read_bytes())
    data[record.offset : record.offset + 256] = bytes(range(256))
    record.file.write_bytes(data)
    export_gguf(bundle, "Q8_0", tmp_path / "m.gguf")
    _, tensors = read_gguf(tmp_path / "m.gguf")
    wanted = _expected("LlamaForCausalLM", LLAMA, bundle.folder, "q8f16_1")["model.embed_tokens.weight"]
    np.testing.assert_array_equal(tensors["token_embd.weight"], wanted)


def test_what_llama_cpp_reads_of_the_config(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", "Gemma2ForCausalLM", FAMILIES["Gemma2ForCausalLM"], "q0f32")
    export_gguf(bundle, "F32", tmp_path / "m.gguf")
    reader, _ = read_gguf(tmp_path / "m.gguf")
    found = {name.removeprefix("gemma2."): field.contents() for name, field in reader.fields.items()}
    assert found["general.architecture"] == "gemma2"
    wanted = {
        "block_count": 2,
        "embedding_length": 64,
        "feed_forward_length": 96,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 16,
        "attention.value_length": 16,
        "rope.freq_base": 20000.0,
        "vocab_size": 50,
        "attention.sliding_window": 8,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    assert {name: found[name] for name in wanted} == wanted


def test_llama_3_rope_factors_are_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    hf = LlamaConfig(
        hidden_size=256, num_attention_heads=4, head_dim=64, rope_parameters={**scaling, "rope_theta": 20000.0}
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](hf, "cpu")
    plain = 20000.0 ** (-np.arange(0, 64, 2) / 64)
    ours = rope_factors(dataclasses.replace(LLAMA, head_dim=64, rope_scaling=scaling))
    assert ours[0] == 1 and ours[-1] == 8
    np.testing.assert_allclose(plain / ours, scaled.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "quant", "said"),
    [
        ({}, "Q8_0", "--vs-quant Q8_0: weights in q4f32_1 can become Q4_0 or Q4_1"),
        ({"architecture": "MambaForCausalLM"}, "Q4_0", "duomem writes no GGUF of MambaForCausalLM"),
        ({"config": {"hidden": 1}}, "Q4_0", "field model.config is not a decoder"),
        (
            {"config": dataclasses.replace(LLAMA, sliding_window=4, sliding_layers=(True, False)).to_json()},
            "Q4_0",
            "pattern of sliding windows",
        ),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, change: dict[str, Any], quant: str, said: str) -> None:
    bundle = make_bundle(tmp_path / "b", "LlamaForCausalLM", LLAMA, "q4f32_1")
    bundle.manifest["model"].update(change)
    with pytest.raises(UserError, match=said):
        export_gguf(bundle, quant, tmp_path / "m.gguf")
