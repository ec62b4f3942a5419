"""LoRA training of a student on won episodes: resumable, capped by steps and by minutes.

Loss on action tokens only; adapters live in the model's dtype with fp32 masters in the optimiser.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import (
    atomic_folder,
    atomic_open,
    read_jsonl,
    sha256_input,
    write_bytes,
    write_json,
)
from duomem.base.progress import progress
from duomem.base.trajectory import read_train_trajectories
from duomem.device.prompt import PROMPT_VERSION, PromptTokenizer
from duomem.memory_packs.pack import read_pack
from duomem.train.base_model import first_line, load_causal_lm, saving, weights_digest
from duomem.train.config import MAX_TRAINABLE, StudentConfig
from duomem.train.dataset import EpisodeDataset, Example, batches

_CHECKPOINT_SECONDS = 120
_SORT_WINDOW = 16
_AVERAGE = 20


@dataclass(frozen=True)
class TrainInputs:
    """What a run is made of; its digest is what a checkpoint is resumed by."""

    base: Path
    trajectories: Path
    pack: Path
    config: StudentConfig

    def record(self) -> dict[str, Any]:
        """By content. Raises UserError for a missing file."""
        return {"config": self.config.to_json(), "prompt_version": PROMPT_VERSION,
                "base_weights": weights_digest(self.base),
                "trajectories": sha256_input(self.trajectories, "trajectory file"),
                "pack": sha256_input(self.pack, "memory pack")}


def train(inputs: TrainInputs, out: Path, minutes: float, cpu_minutes: float, threads: int) -> dict[str, Any]:
    """Train an adapter and write it to the folder `out` (peft's format, fp16, with duomem.json beside it).

    Stops at `config.max_steps`, after `minutes` of training or after `cpu_minutes` of all threads together,
    whichever is first, but not without a step; the learning rate ends its decay there. A checkpoint of the
    same inputs beside `out` is resumed; a finished run of the same inputs is left as it is. Returns the record.
    Raises UserError.
    """
    _calm_openmp()
    record = inputs.record()
    work = out.parent / f"{out.name}.training"
    done = _finished(out, record)
    if done is not None:
        return done
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / "adapter_config.json").is_file())):
        raise UserError(f"--out {out}: exists and is no adapter: give another folder, or remove it")
    run = _Run(inputs, threads)
    state = _load_checkpoint(work, record)
    seconds = run.restore(state) if state else (0.0, 0.0)
    stream = batches(run.dataset, inputs.config.batch_size, _SORT_WINDOW, inputs.config.seed)
    for _ in range(run.step):
        next(stream)
    stream = itertools.chain([next(stream)], stream)  # fails, if at all, before anything is written
    clock = _Clock(*seconds, minutes * 60, cpu_minutes * 60)
    saved = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    _cut_log(work / "log.jsonl", run.step)
    with open(work / "log.jsonl", "a", encoding="utf-8") as log, \
            progress(None, "training", inputs.config.max_steps, "step", run.step) as bar:
        try:
            while (share := max(run.step / inputs.config.max_steps, clock.share())) < 1 or not run.step:
                with _uninterrupted():
                    loss, rate = run.update(next(stream), share)
                    row = {"step": run.step, "loss": round(loss, 5), "rate": rate, "tokens": run.tokens,
                           "seconds": round(clock.wall(), 1), "cpu_seconds": round(clock.cpu(), 1)}
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                bar.update(1)
                bar.set_postfix(loss=f"{run.average():.3f}", tokens_s=f"{run.tokens / clock.wall():.0f}")
                if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    _save_checkpoint(work, record, run, clock)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            _save_checkpoint(work, record, run, clock)
            raise
    record |= {"steps": run.step, "tokens": run.tokens, "padding": round(run.padding(), 4),
               "trainable": run.trainable, "loss": round(run.average(), 4),
               "seconds": round(clock.wall(), 1), "cpu_seconds": round(clock.cpu(), 1)}
    with atomic_folder(out) as folder, saving(out):
        run.save_adapter(folder)
        write_json(folder / "duomem.json", record)
        (folder / "log.jsonl").write_bytes((work / "log.jsonl").read_bytes())
    for file in work.iterdir():
        file.unlink()
    work.rmdir()
    return record


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: a checkpoint of half an update could not be resumed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _calm_openmp() -> None:
    """Two OpenMP threads collapse under contention unless they wait passively; must precede torch."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def _finished(out: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    try:
        found = json.loads((out / "duomem.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and all(found.get(k) == v for k, v in record.items()) else None


class _Clock:
    """Training time, wall and CPU, summed over resumed parts."""

    def __init__(self, wall: float, cpu: float, wall_limit: float, cpu_limit: float) -> None:
        self._wall_start, self._cpu_start = time.monotonic() - wall, time.process_time() - cpu
        self._wall_limit, self._cpu_limit = wall_limit, cpu_limit

    def wall(self) -> float:
        return time.monotonic() - self._wall_start

    def cpu(self) -> float:
        return time.process_time() - self._cpu_start

    def share(self) -> float:
        """Used share of the nearer limit."""
        return max(self.wall() / self._wall_limit, self.cpu() / self._cpu_limit)


class _Run:
    """Model, optimiser and data of one training run."""

    def __init__(self, inputs: TrainInputs, threads: int) -> None:
        import torch
        from peft import LoraConfig, get_peft_model

        torch.set_num_threads(threads)
        torch.manual_seed(inputs.config.seed)
        self.config = inputs.config
        trajectories = list(read_train_trajectories(inputs.trajectories))
        self.dataset = EpisodeDataset(trajectories, read_pack(inputs.pack).memories, PromptTokenizer(inputs.base),
                                      self.config.memory_share, self.config.seed, self.config.max_tokens)
        if not len(self.dataset):
            raise UserError(f"{inputs.trajectories}: no won episode in it: nothing to train on")
        base = load_causal_lm(inputs.base, self.config.dtype)
        targets: Any = self.config.target_modules
        if "," in targets:
            targets = targets.split(",")
        lora = LoraConfig(r=self.config.rank, lora_alpha=self.config.alpha, target_modules=targets,
                          task_type="CAUSAL_LM")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
                self.model = get_peft_model(base, lora, autocast_adapter_dtype=False)
        except ValueError as e:
            raise UserError(f"field target_modules of the student config: {first_line(e)}") from None
        if self.config.compile:
            _compile_layers(self.model.get_base_model().base_model)
        self._named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.trainable = sum(p.numel() for _, p in self._named)
        if self.trainable >= MAX_TRAINABLE:
            raise UserError(f"{self.trainable} trainable parameters, DuoMem allows under {MAX_TRAINABLE}: lower "
                            "field rank or name fewer target_modules")
        self._masters = [p.detach().float().clone().requires_grad_(True) for _, p in self._named]
        self._optimizer = torch.optim.AdamW(self._masters, lr=self.config.learning_rate, weight_decay=0.0,
                                            betas=(0.9, 0.98))
        self.step = 0
        self.tokens = 0
        self._padded = 0
        self._losses: list[float] = []

    def update(self, batch: Sequence[Example], share: float) -> tuple[float, float]:
        """One optimiser step at `share` of the schedule; returns mean loss a token and the learning rate."""
        import torch

        config = self.config
        rate = config.learning_rate * min(1.0, (self.step + 1) / config.warmup_steps) \
            * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
        loss = self._loss(batch)
        loss.backward()
        for (_, parameter), master in zip(self._named, self._masters, strict=True):
            master.grad = parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self._masters, config.grad_clip)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._publish()
        self.step += 1
        self._losses = [*self._losses[1 - _AVERAGE:], float(loss.detach())]
        return self._losses[-1], rate

    def _loss(self, batch: Sequence[Example]) -> Any:
        """Mean cross-entropy of the student's tokens. Right padding under a causal mask needs no attention
        mask, and only positions that predict a student's token reach the head.
        """
        import torch
        from torch.nn.functional import cross_entropy

        longest = max(len(e.tokens) for e in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        student = torch.zeros((len(batch), longest), dtype=torch.bool)
        for row, example in enumerate(batch):
            ids[row, :len(example.tokens)] = torch.tensor(example.tokens)
            student[row, :len(example.student)] = torch.tensor(example.student)
        causal = self.model.get_base_model()
        hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits = causal.lm_head(hidden[:, :-1][student[:, 1:]])
        self.tokens += sum(len(e.tokens) for e in batch)
        self._padded += ids.numel()
        return cross_entropy(logits.float(), ids[:, 1:][student[:, 1:]])

    def _publish(self) -> None:
        import torch

        with torch.no_grad():
            for (_, parameter), master in zip(self._named, self._masters, strict=True):
                parameter.copy_(master)

    def average(self) -> float:
        """Mean loss of the last steps."""
        return sum(self._losses) / max(1, len(self._losses))

    def padding(self) -> float:
        """Share of padding among the tokens computed."""
        return 1 - self.tokens / max(1, self._padded)

    def state(self) -> dict[str, Any]:
        return {"masters": [m.detach() for m in self._masters], "optimizer": self._optimizer.state_dict(),
                "step": self.step, "tokens": self.tokens, "padded": self._padded, "losses": self._losses}

    def restore(self, state: dict[str, Any]) -> tuple[float, float]:
        """Go on from a checkpoint; returns the seconds it had run, wall and CPU."""
        import torch

        with torch.no_grad():
            for master, saved in zip(self._masters, state["masters"], strict=True):
                master.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])
        self._publish()
        self.step, self.tokens, self._padded = state["step"], state["tokens"], state["padded"]
        self._losses = state["losses"]
        return state["seconds"], state["cpu_seconds"]

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in peft's format, weights as fp16."""
        import torch

        with torch.no_grad():
            for (_, parameter), master in zip(self._named, self._masters, strict=True):
                parameter.data = master.detach().to(torch.float16)
        self.model.save_pretrained(folder)


def _compile_layers(decoder: Any) -> None:
    """Compile the repeated layers alone: they share one graph, so it takes half a minute and not four."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError("field compile of the student config needs a C++ compiler (g++): install it, or set "
                        "compile = false and train slower")
    for layer in [*decoder.layers, decoder.norm]:
        layer.compile(dynamic=True)


def _cut_log(log: Path, steps: int) -> None:
    """Drop what was logged after the checkpoint that training goes on from."""
    rows = list(read_jsonl(log, "training log"))[:steps] if log.is_file() else []
    write_bytes(log, "".join(json.dumps(row) + "\n" for row in rows).encode())


def _save_checkpoint(work: Path, record: dict[str, Any], run: _Run, clock: _Clock) -> None:
    import torch

    state = run.state() | {"record": record, "seconds": clock.wall(), "cpu_seconds": clock.cpu()}
    with atomic_open(work / "checkpoint.pt") as f, saving(work / "checkpoint.pt"):
        torch.save(state, f)


def _load_checkpoint(work: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint in `work`, None without one. Raises UserError if it is of other inputs or damaged."""
    import pickle

    import torch

    file = work / "checkpoint.pt"
    if not file.is_file():
        return None
    try:
        state = torch.load(file, weights_only=True)
        found = state["record"]
    except (RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as e:
        raise UserError(f"{file}: damaged checkpoint ({first_line(e)}): delete {work} to start afresh") from None
    if found != record:
        raise UserError(f"{file}: checkpoint of a run with other inputs: give another --out, or delete {work}")
    return state
