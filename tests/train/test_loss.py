"""Loss and accuracy are those of the plain model on each example alone; padding and batching change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.train.dataset import Example
from duomem.train.training_run import TrainInputs

torch = pytest.importorskip("torch", reason="pip install duomem[train]")
pytest.importorskip("peft", reason="pip install duomem[train]")

EXAMPLES = [
    Example(tuple(range(5, 45)), (False,) * 20 + (True,) * 3 + (False,) * 10 + (True,) * 7),
    Example(tuple(range(90, 110)), (False,) * 15 + (True,) * 5),
    Example(tuple(range(60, 71)), (False,) * 9 + (True,) * 2),
]


def _logits(model: Any, example: Example) -> Any:
    """[length - 1, vocabulary]: predictions of each token but the first."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([example.tokens])).logits[0, :-1].float()


def _summed_loss(model: Any, example: Example) -> float:
    targets = torch.tensor(example.tokens[1:])
    losses = torch.nn.functional.cross_entropy(_logits(model, example), targets, reduction="none")
    return float(losses[torch.tensor(example.loss_mask[1:])].sum())


def _gemma2() -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(3)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            final_logit_softcapping=0.2,
            initializer_range=0.3,
        )
    )


def _llama(folder: Path, make_model: Callable[..., Path]) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(make_model(folder))


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_loss_is_the_plain_models(family: str, make_model: Callable[..., Path], tmp_path: Path) -> None:
    """Gemma 2 caps its logits behind the head: a cap as low as this one would show."""
    from peft import LoraConfig, get_peft_model

    from duomem.train.loss import ActionLoss, collate

    plain = _gemma2() if family == "gemma2" else _llama(tmp_path / "m", make_model)
    expected = sum(_summed_loss(plain, e) for e in EXAMPLES)
    loss = ActionLoss(get_peft_model(plain, LoraConfig(r=2, target_modules="all-linear")), "float32")
    assert float(loss(*collate(EXAMPLES, "cpu")).detach()) == pytest.approx(expected, rel=1e-5)


def test_nothing_to_learn_gives_a_loss_of_zero_and_gradients(make_model: Callable[..., Path], tmp_path: Path) -> None:
    """What a process computes that has no micro-batch left."""
    from duomem.train.loss import ActionLoss, collate

    model = _llama(tmp_path / "m", make_model)
    model.get_base_model = lambda: model
    loss = ActionLoss(model, "float32")(*collate([Example((3, 4), (False, False))], "cpu"))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_measured_as_if_each_example_stood_alone(inputs: TrainInputs) -> None:
    from transformers import AutoModelForCausalLM

    from duomem.train.lora_trainer import LoraTrainer

    plain = AutoModelForCausalLM.from_pretrained(inputs.base)
    likeliest = [_logits(plain, e).argmax(-1).tolist() for e in EXAMPLES]
    easy = [replace(e, tokens=(*e.tokens[:-1], best[-1])) for e, best in zip(EXAMPLES, likeliest, strict=True)]
    examples = [*EXAMPLES, *(replace(e, loss_mask=(False,) * (len(e.tokens) - 1) + (True,)) for e in easy)]
    loss = sum(_summed_loss(plain, e) for e in examples) / sum(sum(e.loss_mask) for e in examples)
    for budget in (1, 60, 10_000):
        trainer = LoraTrainer(inputs.base, replace(inputs.config, micro_batch_tokens=budget), 1)
        measured = trainer.measure(examples)
        assert measured["loss"] == pytest.approx(loss, rel=1e-4)
        assert measured["accuracy"] == pytest.approx(3 / 7)  # three made likeliest, four chance could not hit


def test_micro_batches_do_not_change_what_is_learnt(inputs: TrainInputs) -> None:
    from duomem.train.batches import micro_batches
    from duomem.train.lora_trainer import LoraTrainer

    learnt = []
    for budget in (1, 10_000):
        trainer = LoraTrainer(inputs.base, inputs.config, 1)
        losses = [trainer.update(micro_batches(EXAMPLES, budget), 0.01) for _ in range(3)]
        learnt.append((losses, trainer.weights()))
    (few, a), (many, b) = learnt
    assert few == pytest.approx(many, rel=1e-4) and few[2] < few[0]
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-3
