"""What the GPU decoder takes and refuses, and the kernels it becomes; nothing here needs a GPU."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.compile.library.gpu_limits import MAX_BINDING, MAX_HEAD, check_gpu
from duomem.compile.library.target import load_target, read_target
from duomem.compile.models.config import DecoderConfig
from duomem.core.errors import CompileError, ConfigError
from duomem.device.engine.schemes import SCHEMES

SMOLLM2 = DecoderConfig(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    vocab_size=49152,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)


@pytest.mark.parametrize("scheme", ["q4f32_1", "q4f16_1"])
@pytest.mark.parametrize("change", [{}, {"qkv_bias": True}, {"qk_norm": True}, {"rope_scaling": {"factor": 8.0}}])
def test_llama_and_qwen_are_taken(scheme: str, change: dict[str, Any]) -> None:
    check_gpu(replace(SMOLLM2, **change), scheme, 8192, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sandwich_norms": True, "final_softcap": 30.0}, "sandwich norms or soft caps"),
        ({"sliding_window": 64, "sliding_layers": (True,) * 30}, "sliding windows"),
        ({"embedding_scale": 24.0}, "scaled embeddings"),
        ({"activation": "gelu_tanh"}, "the activation gelu_tanh"),
    ],
)
def test_what_it_does_not_compute_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError, match=f"^here: .*{message}.*use a CPU target"):
        check_gpu(replace(SMOLLM2, **change), "q4f32_1", 512, "here")


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"q4f32_1", "q4f16_1"}))
def test_other_schemes_are_refused(scheme: str) -> None:
    with pytest.raises(CompileError, match=f"q4f32_1 and q4f16_1 only, not {scheme}"):
        check_gpu(SMOLLM2, scheme, 512, "here")


@pytest.mark.parametrize(
    ("change", "length", "message"),
    [
        ({"vocab_size": 2 * MAX_BINDING // 576 + 1}, 512, r"model.embed_tokens is \d{9} bytes"),
        ({"vocab_size": MAX_BINDING // 256 + 1, "hidden_size": 64}, 512, "the logits of 64 tokens is"),
        ({}, MAX_BINDING // 4 // 1536 + 1, "a layer's KV cache of 4 x 21846 tokens is .* lower --context"),
    ],
)
def test_a_tensor_above_what_every_gpu_binds_is_refused(change: dict[str, Any], length: int, message: str) -> None:
    with pytest.raises(CompileError, match=f"^here: {message}") as error:
        check_gpu(replace(SMOLLM2, **change), "q4f32_1", length, "here")
    assert "above maxStorageBufferBindingSize = 134217728" in str(error.value)


def test_just_below_the_limits_is_taken() -> None:
    check_gpu(SMOLLM2, "q4f32_1", MAX_BINDING // 4 // 1536 // 16 * 16, "here")
    check_gpu(replace(SMOLLM2, head_dim=MAX_HEAD), "q4f32_1", 512, "here")


def test_heads_that_need_more_shared_memory_are_refused() -> None:
    large = replace(SMOLLM2, head_dim=256)
    with pytest.raises(CompileError, match=r"^here: .* 256 elements .*maxComputeWorkgroupStorageSize = 16384"):
        check_gpu(large, "q4f32_1", 512, "here")
    check_gpu(large, "q4f32_1", 512, "here", webgpu=False)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ('device = "vulkan"\nname = "f32"\ncpu_features = []\nllvm = { kind = "llvm" }', "gpu: needed for every"),
        ('name = "f32"\ncpu_features = []\nllvm = { kind = "llvm" }\ngpu = { kind = "webgpu" }', "this is for cpu"),
    ],
)
def test_a_gpu_variant_has_gpu_options_and_no_other(tmp_path: Path, variant: str, message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f'name = "x"\ndevice = "cpu"\narch = "native"\n[[variants]]\n{variant}\n')
    with pytest.raises(ConfigError, match=message):
        read_target(path)


def test_one_target_may_mix_devices(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(
        'name = "x"\ndevice = "cpu"\narch = "aarch64"\nlink = "aarch64-linux-gnu.2.28"\n'
        '[[variants]]\nname = "neon"\ncpu_features = ["asimd"]\nllvm = { kind = "llvm" }\n'
        '[[variants]]\nname = "f32"\ndevice = "vulkan"\ncpu_features = []\nllvm = { kind = "llvm" }\n'
        'gpu = { kind = "webgpu" }\n'
    )
    target = read_target(path)
    assert [target.library(variant) for variant in target.variants] == [
        "lib/cpu-aarch64-neon.so",
        "lib/vulkan-aarch64-f32.so",
    ]


@pytest.mark.parametrize("head_dim", [64, MAX_HEAD])
def test_the_library_holds_wgsl_that_small_gpus_take(tmp_path: Path, head_dim: int) -> None:
    """At most 256 threads, no subgroups and 16 KB of shared memory: WebGPU's least limits."""
    from duomem.compile.library.worker import build

    (variant,) = load_target("vulkan").variants
    config = DecoderConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=320,
        head_dim=head_dim,
    )
    library = tmp_path / "library.so"
    build(
        {
            "config": config.to_json(),
            "scheme": "q4f32_1",
            "activations": "int8",
            "llvm": variant.llvm,
            "gpu": variant.gpu,
            "link": "",
            "prefill_chunk": 64,
            "all_chunk": 64,
            "library": str(library),
        }
    )
    text = library.read_bytes().decode("latin-1")
    kernels = text.split("@compute")
    sizes = [tuple(map(int, found)) for found in re.findall(r"@workgroup_size\((\d+), (\d+), (\d+)\)", text)]
    assert len(sizes) == len(kernels) - 1 >= 15 and all(x * y * z <= 256 for x, y, z in sizes)
    declared = [re.findall(r"var<workgroup> \w+ : array<(?:vec(\d)<)?f32>?, (\d+)>", part) for part in kernels]
    shared = [sum(int(lanes or 1) * int(n) * 4 for lanes, n in arrays) for arrays in declared]
    assert 0 < max(shared) <= 16384 and sum(map(len, declared)) == text.count("var<workgroup>")
    assert "enable subgroups" not in text and "matvec" in text and "attention_merge" in text
