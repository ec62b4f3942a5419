"""The model being trained: a frozen base with an fp32 LoRA adapter, its optimiser, and what they are worth.

Hugging Face Accelerate places it, synchronises gradients between processes and clips them.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model

from duomem.core.errors import TrainError
from duomem.train.adapter import CONFIG, load_adapter
from duomem.train.base_model import first_line, load_causal_lm
from duomem.train.batches import micro_batches
from duomem.train.config import MAX_TRAINABLE, StudentConfig
from duomem.train.dataset import Example
from duomem.train.loss import ActionLoss, collate

_GIVE_BACK_EVERY = 16
"""Optimiser steps between returns of freed memory: at every step, touching it again took a seventh of the time."""


class LoraTrainer:
    """One process's part of a training run. Every process calls every method, with the same arguments."""

    def __init__(self, base: Path, config: StudentConfig, threads: int, start: Path | None = None) -> None:
        """`base`: folder of the frozen model; `threads`: CPU threads; `start`: adapter to go on from. Raises
        UserError.
        """
        torch.set_num_threads(threads)
        torch.manual_seed(config.seed)
        self._config = config
        self._accelerator: Any = Accelerator()
        model = _with_adapter(load_causal_lm(base, config.dtype), config, start)
        if config.compile:
            _compile_layers(model.get_base_model().base_model)
        self._named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(self._named.values(), config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        # In evaluation mode throughout: nothing drops out, and a validation leaves compiled layers as they are.
        loss = ActionLoss(model, config.dtype).eval()
        self._updates = 0
        self._loss, self._optimizer = self._accelerator.prepare(loss, optimizer)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self._accelerator.is_main_process

    @property
    def trainable(self) -> int:
        """Parameters that are trained."""
        return sum(p.numel() for p in self._named.values())

    @property
    def processes(self) -> int:
        """How many share the work."""
        return self._accelerator.num_processes

    def update(self, micros: list[list[Example]], lr: float) -> float:
        """One optimiser step. micros: micro-batches, a multiple of `processes`. lr: learning rate.

        Returns the mean loss of a target token over all of them.
        """
        num_target_tokens = sum(sum(e.loss_mask) for micro in micros for e in micro)
        mine = micros[self._accelerator.process_index :: self.processes]
        total = torch.zeros((), device=self._accelerator.device)
        for i, micro in enumerate(mine):
            last = i + 1 == len(mine)
            with contextlib.nullcontext() if last else self._accelerator.no_sync(self._loss):
                loss = self._loss(*collate(micro, self._accelerator.device))
                # Gradients are averaged over processes.
                self._accelerator.backward(loss * (self.processes / num_target_tokens))
            total += loss.detach()
        self._accelerator.clip_grad_norm_(self._named.values(), self._config.grad_clip)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._updates += 1
        if self._updates % _GIVE_BACK_EVERY == 0:
            _give_back_memory()
        return float(self._accelerator.reduce(total, "sum")) / num_target_tokens

    def measure(self, examples: Sequence[Example]) -> dict[str, float]:
        """{"loss": mean of a target token, "accuracy": share of actions of which every token is the likeliest one
        given the teacher's own text before it (greedy under teacher forcing)}.
        """
        module = self._accelerator.unwrap_model(self._loss)
        loss, right, actions = 0.0, 0, 0
        micros = micro_batches(examples, self._config.micro_batch_tokens)
        for micro in micros[self._accelerator.process_index :: self.processes]:
            summed, hits = module.measure(*collate(micro, self._accelerator.device))
            loss += summed
            hit = iter(hits)
            for length in (n for example in micro for n in example.actions()):
                right += all([next(hit) for _ in range(length)])
                actions += 1
        num_target_tokens = sum(sum(e.loss_mask) for e in examples)
        sums = torch.tensor([loss, right, actions], device=self._accelerator.device)
        loss, right, actions = self._accelerator.reduce(sums, "sum").tolist()
        return {"loss": loss / num_target_tokens, "accuracy": right / actions}

    def all_reduce_max(self, value: float) -> float:
        """The largest `value` of all processes: clocks differ, decisions must not."""
        mine = torch.tensor([value], dtype=torch.float64, device=self._accelerator.device)
        return float(self._accelerator.gather(mine).max())

    def wait(self) -> None:
        """Return when every process has come here."""
        self._accelerator.wait_for_everyone()

    def weights(self) -> dict[str, Any]:
        """A copy of the adapter, fp32, by parameter name."""
        return {name: p.detach().cpu().clone() for name, p in self._named.items()}

    def set_weights(self, weights: dict[str, Any]) -> None:
        """Put back what `weights` gave."""
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(weights[name])

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on bit for bit."""
        return {"weights": self.weights(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave."""
        self.set_weights(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in peft's format, weights as fp16; the trainer cannot train on after it."""
        for parameter in self._named.values():
            parameter.data = parameter.data.to(torch.float16)
        self._accelerator.unwrap_model(self._loss).model.save_pretrained(folder)


def lr_at(config: StudentConfig, step: int, share: float) -> float:
    """Learning rate of step number `step` (from 0) at `share` of the schedule: linear warm-up, cosine decay."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return (
        config.learning_rate
        * min(1.0, (step + 1) / config.warmup_steps)
        * (config.final_lr_ratio + (1 - config.final_lr_ratio) * cosine)
    )


def _with_adapter(base: Any, config: StudentConfig, start: Path | None) -> Any:
    model = load_adapter(base, start, trainable=True) if start else _new_adapter(base, config)
    found = model.peft_config["default"]
    if start and (found.r, found.lora_alpha) != (config.rank, config.alpha):
        raise TrainError(
            f"{start / CONFIG}: field r is {found.r} and lora_alpha {found.lora_alpha}, the student config "
            f"has rank {config.rank} and alpha {config.alpha}: start from an adapter of that rank"
        )
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trainable >= MAX_TRAINABLE:
        raise TrainError(
            f"{trainable} trainable parameters, DuoMem allows under {MAX_TRAINABLE}: lower field rank or "
            "name fewer target_modules"
        )
    return model


def _new_adapter(base: Any, config: StudentConfig) -> Any:
    targets: Any = config.target_modules
    if "," in targets:
        targets = targets.split(",")
    lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets, task_type="CAUSAL_LM")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
            return get_peft_model(base, lora)
    except ValueError as e:
        raise TrainError(f"field target_modules of the student config: {first_line(e)}") from None


def _give_back_memory() -> None:
    """Return freed heap to the system where its allocator can: batches of ever new lengths fragment it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc's
        trim(0)


def _compile_layers(decoder: Any) -> None:
    """Compile the repeated layers alone: they share one graph, so it takes half a minute and not four."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise TrainError(
            "field compile of the student config needs a C++ compiler (g++): install it, or set "
            "compile = false and train slower"
        )
    for layer in [*decoder.layers, decoder.norm]:
        layer.compile(dynamic=True)
