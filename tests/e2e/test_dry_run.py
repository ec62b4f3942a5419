"""One shipped student of each kind, tiny: trained for three steps as its file says, merged, compiled and played.

A kind is an architecture with tied or untied embeddings. tests/train/test_students.py checks every student's file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from episodes import write_episodes
from families import text_model

from duomem.cli.main import main
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.configs import student_files
from duomem.core.architectures import ARCHITECTURES
from duomem.memory_packs.build import build_pack
from duomem.train.architecture import ALL_LINEAR, read_architecture
from duomem.train.config import StudentConfig, load_config

pytestmark = pytest.mark.slow

Merged = Callable[[Path], tuple[Path, Path]]

torch = pytest.importorskip("torch", reason="pip install duomem[train]")
pytest.importorskip("peft", reason="pip install duomem[train]")

VARIANTS = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
}
SEES = "Gemma3ForConditionalGeneration"
CONTEXT = 4096
ALL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
GENERATION = {"do_sample": False, "temperature": 0.6, "eos_token_id": [257, 259]}
"""As some models ship it, and transformers refuses to save it."""


Kind = tuple[str, bool]
"""An architecture's name, and whether its embeddings are tied."""


def _kind(path: Path) -> Kind:
    architecture = read_architecture(path)
    assert architecture is not None
    return architecture.name, architecture.tie_word_embeddings


FIRST = {_kind(path): path for path in reversed([*student_files().values()])}
"""A student of each kind."""
KINDS = pytest.mark.parametrize("kind", sorted(FIRST), ids=lambda kind: f"{kind[0]}-{'tied' if kind[1] else 'untied'}")


def test_every_architecture_has_a_student() -> None:
    assert {name for name, _ in FIRST} == set(ARCHITECTURES)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Path) -> Callable[[Kind], Path]:
    """base(kind) is the folder of a tiny model of it."""

    @cache
    def make(kind: Kind) -> Path:
        name, tied = kind
        folder = tmp_path_factory.mktemp("bases") / name
        model = (
            _seeing()
            if name == SEES
            else text_model(VARIANTS[name], max_position_embeddings=CONTEXT, tie_word_embeddings=tied)
        )
        model.save_pretrained(folder)
        shutil.copy(byte_tokenizer / "tokenizer.json", folder)
        (folder / "generation_config.json").write_text(json.dumps(GENERATION))
        return folder

    return make


def _seeing() -> Any:
    """The tiny Gemma 3 with eyes, in bfloat16 as those models are stored."""
    import transformers

    text = text_model("gemma3", max_position_embeddings=CONTEXT)
    vision = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = transformers.Gemma3Config(
        text_config=text.config.to_dict(),
        vision_config=vision.to_dict(),
        mm_tokens_per_image=4,
        eos_token_id=[257, 259],
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    return model.to(torch.bfloat16)


@pytest.fixture(scope="session")
def merged(tmp_path_factory: pytest.TempPathFactory, base: Callable[[Kind], Path]) -> Merged:
    """merged(config file) is (adapter, student) of three steps as the file says, on the tiny model."""
    from duomem.train.merge import merge
    from duomem.train.trainer import train
    from duomem.train.training_run import TrainInputs

    place = tmp_path_factory.mktemp("students")
    episodes = write_episodes(place / "t.jsonl")
    build_pack(episodes, place / "p.dmpack", "p")

    @cache
    def make(path: Path) -> tuple[Path, Path]:
        config = replace(
            load_config(path), max_steps=3, warmup_steps=1, learning_rate=0.02, hold_out_games=0, compile=False
        )
        folder, adapter = base(_kind(path)), place / f"{path.stem}-adapter"
        train(TrainInputs(folder, [episodes], [place / "p.dmpack"], config), adapter, 1)
        return adapter, merge(folder, adapter, place / path.stem)

    return make


@KINDS
def test_trained_and_merged(kind: Kind, base: Callable[[Kind], Path], merged: Merged) -> None:
    config: StudentConfig = load_config(FIRST[kind])
    adapter, student = merged(FIRST[kind])
    lora = json.loads((adapter / "adapter_config.json").read_text())
    assert (lora["r"], lora["lora_alpha"]) == (config.rank, 2 * config.rank)
    targets = ALL if config.target_modules == ALL_LINEAR else set(config.target_modules.split(","))
    assert {target.rpartition(".")[2] for target in lora["target_modules"]} == targets
    assert (student / "generation_config.json").read_bytes() == (base(kind) / "generation_config.json").read_bytes()
    assert 259 in json.loads((student / "generation_config.json").read_text())["eos_token_id"]


def _logits(model: Any) -> Any:
    with torch.no_grad():
        return model.float().eval()(input_ids=torch.arange(60)[None] * 7 % 300).logits


@KINDS
def test_merging_is_exact(kind: Kind, base: Callable[[Kind], Path], merged: Merged) -> None:
    """Of what is stored in float32, the logits; else each weight is the exact sum, rounded once."""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from duomem.train.base_model import load_causal_lm

    adapter, student = merged(FIRST[kind])
    plain = _logits(load_causal_lm(base(kind), "float32"))
    both = PeftModel.from_pretrained(load_causal_lm(base(kind), "float32"), str(adapter))
    expected = _logits(both)
    stored = load_file(student / "model.safetensors")
    if kind[0] == SEES:
        assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
        exact = both.merge_and_unload().state_dict()
        assert all(torch.equal(tensor, exact[key].to(torch.bfloat16)) for key, tensor in stored.items())
    else:
        assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
        found = _logits(AutoModelForCausalLM.from_pretrained(student, attn_implementation="eager"))
        assert (found - expected).abs().max() < 1e-4
    assert (expected - plain).abs().max() > 0.01


@KINDS
def test_compiled_and_played(
    kind: Kind, merged: Merged, generated_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That it runs: a random model loses. test_shipped_student.py asks for wins."""
    _, student = merged(FIRST[kind])
    assert Checkpoint(student).architecture == kind[0].replace(SEES, "Gemma3ForCausalLM")
    assert (
        main(
            [
                "compile",
                str(student),
                "--target",
                "host",
                "--quant",
                "q4f32_1",
                "--min-agreement",
                "0",
                "--context",
                str(CONTEXT),
                "--out",
                str(tmp_path / "bundle"),
            ]
        )
        == 0
    )
    assert main(["play", str(tmp_path / "bundle"), "--games", str(generated_games), "--max-steps", "3"]) == 0
    page = capsys.readouterr().out
    assert "Your task is to:" in page and "lost in 3 steps" in page
