"""A merged student answers as base and adapter together do; what does not fit is refused, and nothing written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.train import merge as merge_module
from duomem.train.holdout import HoldOut, read_hold_out
from duomem.train.merge import merge
from duomem.train.trainer import train
from duomem.train.training_run import TrainInputs

torch = pytest.importorskip("torch", reason="pip install duomem[train]")
pytest.importorskip("peft", reason="pip install duomem[train]")


@pytest.fixture
def adapter(inputs: TrainInputs, tmp_path: Path) -> Path:
    train(replace(inputs, config=replace(inputs.config, max_steps=3)), tmp_path / "adapter", 1)
    return tmp_path / "adapter"


def _logits(model: Any) -> Any:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(40)[None] % 300).logits


def test_merged_answers_as_base_and_adapter(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = merge(tiny_model, adapter, tmp_path / "student")
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    before = _logits(base)
    expected = _logits(PeftModel.from_pretrained(base, str(adapter)))
    merged = _logits(AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32))
    assert (merged - expected).abs().max() < 1e-4 < 0.01 < (merged - before).abs().max()
    assert (out / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()
    assert not any("lora" in name for name in os.listdir(out))


def test_a_merged_student_tells_what_was_held_out(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    record = json.loads((adapter / "duomem.json").read_text())
    held = HoldOut(frozenset({"a"}), frozenset({"301"}))
    (adapter / "duomem.json").write_text(json.dumps(record | {"held_out": held.record()}))
    assert read_hold_out(merge(tiny_model, adapter, tmp_path / "student")) == held
    mark = tmp_path / "student" / "duomem.json"
    mark.write_text(json.dumps({k: v for k, v in json.loads(mark.read_text()).items() if k != "held_out"}))
    assert read_hold_out(merge(tiny_model, adapter, tmp_path / "student")) == held  # of an earlier duomem
    (adapter / "duomem.json").unlink()
    assert not read_hold_out(merge(tiny_model, adapter, tmp_path / "other")).games


def test_merged_once(tiny_model: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = merge(tiny_model, adapter, tmp_path / "student")
    before = (out / "model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as m:
        m.setattr(merge_module, "load_causal_lm", lambda *a: pytest.fail("merges again"))
        assert merge(tiny_model, adapter, out) == out
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 16}))
    merge(tiny_model, adapter, out)
    assert (out / "model.safetensors").stat().st_mtime_ns > before


def _edit(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], object]:
    """Damage that changes the adapter's tensors by name."""

    def damage(adapter: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = adapter / "adapter_model.safetensors"
        save_file(change(load_file(file)), file)

    return damage


def _config(**changes: Any) -> Callable[[Path], object]:
    def damage(adapter: Path) -> None:
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda adapter: shutil.rmtree(adapter),
        lambda adapter: (adapter / "adapter_config.json").unlink(),
        lambda adapter: (adapter / "adapter_model.safetensors").unlink(),
        lambda adapter: (adapter / "adapter_config.json").write_text("{"),
        lambda adapter: (adapter / "adapter_config.json").write_text("[]"),
        lambda adapter: (adapter / "adapter_model.safetensors").write_bytes(b""),
        lambda adapter: os.truncate(adapter / "adapter_model.safetensors", 5000),
        _config(peft_type="NONE"),
        _config(r=8),
        _config(target_modules=["q_projector"]),
        _edit(lambda tensors: {}),
        _edit(lambda tensors: dict(list(tensors.items())[1:])),
        _edit(lambda tensors: tensors | {"extra.lora_A.weight": torch.zeros(2, 2)}),
        _edit(lambda tensors: {name.replace("layers.1", "layers.7"): t for name, t in tensors.items()}),
        _edit(lambda tensors: {name: t[:, :-1].contiguous() for name, t in tensors.items()}),
    ],
    ids=range(15),
)
def test_a_damaged_adapter(tiny_model: Path, adapter: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    damage(adapter)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match=str(adapter)) as caught:
        merge(tiny_model, adapter, tmp_path / "student")
    assert len(str(caught.value)) < 800
    assert sorted(os.listdir(tmp_path)) == before


def test_an_adapter_of_another_model(make_model: Callable[..., Path], adapter: Path, tmp_path: Path) -> None:
    for name, changes in (("shallow", {"num_hidden_layers": 1}), ("narrow", {"intermediate_size": 64})):
        with pytest.raises(UserError, match=str(adapter)):
            merge(make_model(tmp_path / name, **changes), adapter, tmp_path / "student")
        assert not (tmp_path / "student").exists()


def test_a_damaged_base(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    os.truncate(base / "model.safetensors", 1000)
    with pytest.raises(UserError, match="base: this base model is damaged"):
        merge(base, adapter, tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_nothing_else_is_replaced(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for out in (adapter, tmp_path, tmp_path / "t.jsonl", tiny_model):
        with pytest.raises(UserError, match="exists and is no merged student"):
            merge(tiny_model, adapter, out)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_a_failure_while_writing_leaves_nothing(
    tiny_model: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(merge_module, "write_json", interrupted)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        merge(tiny_model, adapter, tmp_path / "student")
    assert sorted(os.listdir(tmp_path)) == before
