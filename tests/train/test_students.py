"""Every shipped student's dimensions, against the model and the LoRA that transformers and peft make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main
from duomem.configs import student_files
from duomem.core.errors import UserError
from duomem.train.architecture import ALL_LINEAR, Architecture, read_architecture
from duomem.train.config import MAX_TRAINABLE, StudentConfig, load_config
from duomem.train.estimate import GPUS, activation_values, training_flops, training_hours, training_memory

FILES = pytest.mark.parametrize("path", student_files().values(), ids=lambda path: path.stem)
PAPER = {
    "qwen3-4b",
    "qwen2.5-1.5b",
    "qwen2.5-3b",
    "qwen2.5-7b",
    "qwen2.5-14b",
    "qwen2.5-32b",
    "qwen2.5-72b",
    "qwen3-0.6b",
    "qwen3-1.7b",
    "qwen3-8b",
    "gemma2-2b",
    "gemma3-1b",
    "gemma3-4b",
    "gemma3-12b",
    "llama3.2-1b",
    "llama3.2-3b",
    "smollm2-135m",
    "smollm2-360m",
    "smollm2-1.7b",
}
CLASSES = {
    "LlamaForCausalLM": "LlamaConfig",
    "Qwen2ForCausalLM": "Qwen2Config",
    "Qwen3ForCausalLM": "Qwen3Config",
    "Gemma2ForCausalLM": "Gemma2Config",
    "Gemma3ForCausalLM": "Gemma3TextConfig",
    "Gemma3ForConditionalGeneration": "Gemma3TextConfig",
}


def test_the_papers_families_are_there() -> None:
    assert {path.stem for path in student_files().values()} == PAPER


def _read(path: Path) -> Architecture:
    architecture = read_architecture(path)
    assert architecture is not None
    return architecture


@FILES
def test_under_ten_million_are_trained(path: Path) -> None:
    config, architecture = load_config(path), _read(path)
    assert 1_000_000 < architecture.trainable(config.rank, config.target_modules) < MAX_TRAINABLE
    assert config.alpha == 2 * config.rank


def _with_lora(architecture: Architecture, config: StudentConfig) -> Any:
    """peft's model of these dimensions, without memory for its weights."""
    torch = pytest.importorskip("torch", reason="pip install duomem[train]")
    peft = pytest.importorskip("peft", reason="pip install duomem[train]")
    import transformers

    sizes = {name: value for name, value in vars(architecture).items() if name != "name"}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            getattr(transformers, CLASSES[architecture.name])(**sizes)
        )
        targets: Any = config.target_modules
        if targets != ALL_LINEAR:
            targets = targets.split(",")
        return peft.get_peft_model(model, peft.LoraConfig(r=config.rank, target_modules=targets, task_type="CAUSAL_LM"))


@FILES
def test_sums_are_those_of_the_model_itself(path: Path) -> None:
    """Two layers of it: all are alike, and 80 would take seconds."""
    config, architecture = load_config(path), replace(_read(path), num_hidden_layers=2)
    model = _with_lora(architecture, config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert architecture.trainable(config.rank, config.target_modules) == trained
    whole = sum(p.numel() for p in model.parameters()) - trained
    assert 0 <= whole - architecture.parameters < 1e-3 * whole


def test_published_parameter_counts() -> None:
    """Of the model cards, in billions; those of Gemma 3 4B and 12B count the vision tower too."""
    cards = {
        "smollm2-135m": 0.135,
        "smollm2-360m": 0.362,
        "smollm2-1.7b": 1.71,
        "llama3.2-1b": 1.24,
        "llama3.2-3b": 3.21,
        "qwen2.5-1.5b": 1.54,
        "qwen2.5-3b": 3.09,
        "qwen2.5-7b": 7.61,
        "qwen2.5-14b": 14.7,
        "qwen2.5-32b": 32.5,
        "qwen2.5-72b": 72.7,
        "qwen3-0.6b": 0.6,
        "qwen3-1.7b": 1.7,
        "qwen3-4b": 4.0,
        "qwen3-8b": 8.2,
        "gemma2-2b": 2.61,
        "gemma3-1b": 1.0,
    }
    for path in student_files().values():
        if path.stem in cards:
            assert _read(path).parameters / 1e9 == pytest.approx(cards[path.stem], rel=0.015), path.stem


def test_the_papers_headline_student() -> None:
    """5.9 M trained on Qwen3-4B."""
    path = next(path for path in student_files().values() if path.stem == "qwen3-4b")
    config = load_config(path)
    assert (config.rank, _read(path).trainable(config.rank, config.target_modules)) == (8, 5_898_240)


TINY = Architecture("LlamaForCausalLM", 8, 16, 2, 2, 1, 4, 100, True)


def test_estimates_by_hand() -> None:
    config = StudentConfig("m", rank=1, target_modules="q_proj", batch_size=2, max_steps=10, micro_batch_tokens=5)
    layer = 8 * 8 + 2 * 4 * 8 + 8 * 8 + 3 * 16 * 8
    assert (TINY.layer_parameters, TINY.parameters, TINY.trainable(1, "q_proj")) == (2 * layer, 2 * layer + 800, 2 * 16)
    assert replace(TINY, tie_word_embeddings=False).parameters == 2 * layer + 1600
    assert activation_values(TINY) == 4 * 8 + 2 * (8 + 4) + 4 + 8 + 4 * 16
    kept = 5 * 2 * activation_values(TINY) * 2
    assert training_memory(TINY, config) == (2 * layer + 800) * 2 + 32 * 16 + kept + 5 * 0.2 * 100 * 12 + 1.5e9
    assert training_flops(TINY, config) == 4 * (2 * layer + 0.2 * 800 + 32) * 10 * 2 * 450
    assert training_hours(TINY, config, GPUS[0]) == training_flops(TINY, config) / (0.35 * GPUS[0].flops) / 3600
    assert training_hours(TINY, config, replace(GPUS[0], memory=1e9)) is None
    assert training_memory(TINY, replace(config, dtype="float32")) > training_memory(TINY, config)


def test_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["student", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith("qwen3-4b "))
    assert "Qwen/Qwen3-4B " in line and " 4.02 B " in line and " 5.90 M " in line
    assert main(["student", "list", "--json"]) == 0
    students = {s["name"]: s for s in json.loads(capsys.readouterr().out)["students"]}
    assert set(students) == PAPER
    assert students["qwen2.5-72b"]["hours"]["H100"] is None and 0 < students["qwen3-4b"]["hours"]["L4"] < 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "GPT2LMHeadModel"}, "field architecture.name is 'GPT2LMHeadModel'"),
        ({"hidden_size": 0}, "field architecture.hidden_size must be a positive int"),
        ({"hidden_size": True}, "architecture.hidden_size"),
        ({"tie_word_embeddings": 1}, "architecture.tie_word_embeddings"),
        ({"layers": 3}, "and nothing else"),
        ({"vocab_size": None}, "and nothing else"),
    ],
)
def test_wrong_tables(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    table = {name: value for name, value in (vars(TINY) | change).items() if value is not None}
    path = tmp_path / "s.toml"
    path.write_text('model = "m"\n[architecture]\n' + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items()))
    with pytest.raises(UserError, match="s.toml: .*" + said):
        read_architecture(path)


def test_a_target_that_is_no_projection() -> None:
    with pytest.raises(UserError, match="target_modules: 'query' is none of q_proj"):
        TINY.trainable(4, "q_proj,query")


def test_a_students_file_needs_no_dimensions(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('model = "m"\n')
    assert read_architecture(tmp_path / "s.toml") is None
