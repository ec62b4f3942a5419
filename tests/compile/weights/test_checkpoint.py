from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from duomem.compile.models import gemma3
from duomem.compile.weights import checkpoint as module
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import UserError


def all_tensors(folder: Path) -> dict[str, np.ndarray]:
    checkpoint = Checkpoint(folder)
    return {weight.name: checkpoint.matrix(weight) for weight in checkpoint.config.weights()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shard", ["1GB", "60KB"])
def test_tensors_are_those_of_transformers(
    make_model: Callable[..., Path], tmp_path: Path, dtype: str, shard: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "m", dtype=dtype, max_shard_size=shard, tie_word_embeddings=False)
    assert (folder / "model.safetensors.index.json").exists() == (shard == "60KB")
    state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    tensors = all_tensors(folder)
    for weight in Checkpoint(folder).config.weights():
        expected = np.concatenate([state[source].numpy() for source in weight.sources])
        assert tensors[weight.name].dtype == np.float32
        assert np.array_equal(tensors[weight.name], expected), weight.name


def test_rows_of_a_matrix_from_several_blocks(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_VALUES", 96 * 40)
    checkpoint = Checkpoint(tiny_model)
    ids = np.array([0, 39, 40, 41, 160, 299])
    table = "model.embed_tokens.weight"
    assert np.array_equal(checkpoint.rows(table, ids), checkpoint.tensor(table)[ids])


def test_digest_changes_with_any_weight(tiny_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    before = Checkpoint(copy).digest
    assert before == Checkpoint(tiny_model).digest
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    assert Checkpoint(copy).digest != before


def edit_header(folder: Path, edit: Callable[[dict], None]) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "config.json: no such model config"),
        (lambda d: (d / "config.json").write_text("[]"), "not an object"),
        (lambda d: (d / "model.safetensors").unlink(), "model.safetensors: cannot read the weights"),
        (lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda d: (d / "model.safetensors").write_bytes(b"\xff" * 16), "safetensors header"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "safetensors header"),
        (lambda d: edit_header(d, lambda h: h.pop("model.norm.weight")), "no tensor model.norm.weight"),
        (lambda d: edit_header(d, lambda h: h["model.norm.weight"].update(dtype="I64")), "I64"),
        (lambda d: edit_header(d, lambda h: h["model.norm.weight"].update(shape=[-64])), "safetensors header"),
        (
            lambda d: edit_header(d, lambda h: h["model.norm.weight"].update(data_offsets=[0, 1 << 40])),
            "lies outside the file",
        ),
        (
            lambda d: edit_header(d, lambda h: h.update({"model.bias": h["model.norm.weight"]})),
            "model.bias has no place",
        ),
        (lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x"}}'), "weight_map"),
    ],
)
def test_damaged_folders_are_one_line_errors(
    tiny_model: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    damage(copy)
    with pytest.raises(UserError, match=message) as error:
        all_tensors(copy)
    assert "\n" not in str(error.value)


def test_blocks_are_the_matrix_in_rows(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few rows, that end within a fused matrix's parts."""
    whole = all_tensors(tiny_model)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 1000)
    checkpoint = Checkpoint(tiny_model)
    for weight in checkpoint.config.weights():
        blocks = list(checkpoint.blocks(weight))
        assert max(block.size for block in blocks) <= 1000
        assert np.array_equal(np.concatenate(blocks), whole[weight.name])


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.language_model.norm.weight", "model.norm.weight"),
        ("language_model.model.norm.weight", "model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("lm_head.weight", "lm_head.weight"),
        ("vision_tower.vision_model.embeddings.patch_embedding.weight", None),
        ("model.vision_tower.vision_model.embeddings.patch_embedding.weight", None),
        ("multi_modal_projector.mm_input_projection_weight", None),
    ],
)
def test_gemma3s_text_decoder_is_found_in_every_layout(stored: str, name: str | None) -> None:
    assert gemma3.text_tensor(stored) == name
