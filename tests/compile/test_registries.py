"""The registries are complete: what is listed once works everywhere it is read."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from families import VARIANTS

from duomem.compile.kernels.storage import STORAGES
from duomem.compile.library.target import known_targets, load_target
from duomem.compile.models import FAMILIES
from duomem.compile.models.config import Weight
from duomem.compile.weights import mlc_config
from duomem.compile.weights.mlc_layout import write_weights
from duomem.compile.weights.quantize import load_stored, store
from duomem.core.architectures import ARCHITECTURES
from duomem.device.engine.schemes import DEFAULT_SCHEME, SCHEMES, float32_scheme
from duomem.device.engine.weights import library_weight, read_tensor_cache

MATRICES = [
    Weight(name, (f"{name}.weight",), (50, 96)) for name in ("model.embed_tokens", "model.layers.0.mlp.down_proj")
]


@pytest.mark.parametrize("name", SCHEMES)
def test_a_schemes_name_says_what_it_is(name: str) -> None:
    """MLC's names: q, the bits of a code (0 for none), f and the bits of scales and vectors."""
    scheme = SCHEMES[name]
    assert scheme.name == name
    assert name.startswith(f"q{scheme.bits if scheme.is_quantized else 0}f{scheme.value_bytes * 8}")
    assert scheme.is_quantized or scheme.bits == scheme.value_bytes * 8


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("weight", MATRICES, ids=lambda weight: weight.name)
def test_a_stored_matrix_is_what_the_schemes_kernels_take(tmp_path: Path, name: str, weight: Weight) -> None:
    """Written, read back, and cut into the arrays that the kernels' storage asks for."""
    scheme, storage = SCHEMES[name], STORAGES[SCHEMES[name].storage]
    w = np.random.default_rng(0).standard_normal(weight.shape).astype(np.float32)
    write_weights(store(weight, lambda: iter([w]), name), tmp_path)
    records = read_tensor_cache(tmp_path)
    assert sum(record.nbytes for record in records.values()) == scheme.matrix_bytes * w.size
    back = load_stored(weight, records, name)
    assert np.linalg.norm(back - w) <= np.linalg.norm(w) * (0.12 if scheme.bits == 4 else 0.01)
    arrays = [
        library_weight([records[f"{weight.name}.{end}"]], shape, dtype, name)
        for end, shape, dtype in storage.parameters(*weight.shape)
    ]
    assert len(arrays) == len(records) and storage.bits == scheme.bits and storage.grouped == scheme.is_quantized
    if scheme.is_quantized:
        words, first_code = arrays[0], int(arrays[0][0, 0, 0]) & ((1 << scheme.bits) - 1)
        scale = arrays[1][0, 0, 0]
        exact = np.uint32(int(scale) << 16).view(np.float32) if scale.dtype == np.uint16 else np.float32(scale)
        assert words.dtype == np.uint32 and (first_code - storage.zero) * exact == back[0, 0]
        assert storage.zero == -scheme.qmin
    else:
        assert arrays[0][0, 0, 0] == back[0, 0]


def test_every_storage_belongs_to_a_scheme() -> None:
    assert {scheme.storage for scheme in SCHEMES.values()} == set(STORAGES)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_has_a_bound_and_gguf_types(name: str) -> None:
    scheme = SCHEMES[name]
    assert 0.5 < scheme.min_agreement < 1
    assert scheme.gguf and all(quant in gguf.GGMLQuantizationType.__members__ for quant in scheme.gguf)


def test_the_schemes_that_are_proposed() -> None:
    assert SCHEMES[DEFAULT_SCHEME].is_quantized and SCHEMES[DEFAULT_SCHEME].on_gpu and SCHEMES[DEFAULT_SCHEME].in_mlc
    assert [float32_scheme(quantized) for quantized in (True, False)] == ["q4f32_1", "q0f32"]


def test_every_architecture_has_one_entry() -> None:
    assert tuple(FAMILIES) == ARCHITECTURES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_formats_know_an_architecture(name: str) -> None:
    family = FAMILIES[name]
    assert family.model_type in mlc_config._FAMILY_FIELDS
    assert family.gguf in gguf.MODEL_ARCH_NAMES.values()
    assert len({other.model_type for other in FAMILIES.values()}) == len(FAMILIES)


def test_every_architecture_is_compiled_in_the_tests_of_families() -> None:
    """Gemma3ForConditionalGeneration there too: it is read as the decoder of a Gemma3ForCausalLM."""
    assert {f"{name}ForCausalLM" for name, _ in VARIANTS.values()} == set(ARCHITECTURES) - {
        "Gemma3ForConditionalGeneration"
    }


@pytest.mark.parametrize("name", known_targets())
def test_a_target_is_named_as_its_file(name: str) -> None:
    target = load_target(name)
    assert target.name == name and target.device in {variant.device for variant in target.variants}
