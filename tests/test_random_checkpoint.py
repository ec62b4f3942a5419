"""scripts/random_checkpoint.py: a folder that is read as the student it stands for."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import UserError
from duomem.core.files import sha256_file

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "random_checkpoint.py"
STUDENT = """[architecture]
name = "Qwen3ForCausalLM"
vocab_size = 300
hidden_size = 64
intermediate_size = 96
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 16
tie_word_embeddings = true
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a small student "tiny" and another of a family it does not write."""
    spec = importlib.util.spec_from_file_location("random_checkpoint", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = {}
    for name, text in {"tiny": STUDENT, "llama": STUDENT.replace("Qwen3", "Llama")}.items():
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        files[f"configs/students/{name}.toml"] = file
    monkeypatch.setattr(module, "own_files", lambda _: files)
    return module


def test_the_folder_is_a_model_of_that_shape(script: ModuleType, byte_tokenizer: Path, tmp_path: Path) -> None:
    script.write_checkpoint("tiny", byte_tokenizer, tmp_path / "m")
    checkpoint = Checkpoint(tmp_path / "m")
    assert checkpoint.architecture == "Qwen3ForCausalLM" and checkpoint.config.num_hidden_layers == 2
    for weight in checkpoint.config.weights():
        values = checkpoint.matrix(weight)
        assert values.shape == weight.shape
        if weight.is_matrix:
            assert abs(float(values.mean())) < script.SPREAD / 5
            assert 0.9 < float(values.std()) / script.SPREAD < 1.1
        else:
            assert np.all(values == 1)


def test_the_same_seed_gives_the_same_bytes(script: ModuleType, byte_tokenizer: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        script.write_checkpoint("tiny", byte_tokenizer, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    digests = [[sha256_file(tmp_path / folder / name) for name in files] for folder in ("a", "b")]
    assert digests[0] == digests[1]
    index = json.loads((tmp_path / "a" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {name for name in files if name.endswith(".safetensors")}


@pytest.mark.parametrize(("student", "said"), [("none", "no such student"), ("llama", "is a LlamaForCausalLM")])
def test_a_student_it_cannot_write_is_one_line(
    script: ModuleType, byte_tokenizer: Path, tmp_path: Path, student: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        script.write_checkpoint(student, byte_tokenizer, tmp_path / "m")
    assert not (tmp_path / "m").exists()
