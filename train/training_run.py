"""One training run: what it is made of, its data and trainer, and how far it is.

trainer.py says when it goes on, and what of it is written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem.core.episode_words import DEFAULT_WORLD, TEMPLATE
from duomem.core.errors import TrainError
from duomem.core.files import sha256_input
from duomem.core.machine import peak_rss
from duomem.core.trajectory import Trajectory, read_train_trajectories
from duomem.device.agent.prompt import PROMPT_VERSION, PromptTokenizer
from duomem.device.world.worlds import load_world, world_record
from duomem.memory_packs.lexicon import utterances
from duomem.memory_packs.pack import read_pack
from duomem.train.adapter import adapter_digests
from duomem.train.base_model import weights_digest
from duomem.train.batches import batches, micro_batches, padded
from duomem.train.checkpoint import save_checkpoint
from duomem.train.config import StudentConfig
from duomem.train.dataset import EpisodeDataset, Example
from duomem.train.holdout import hold_out, read_hold_out
from duomem.train.lexicon_folds import LexiconFolds
from duomem.train.memory_sampler import MemorySampler

if TYPE_CHECKING:
    from duomem.train.lora_trainer import LoraTrainer

_SORT_WINDOW = 16
_AVERAGE = 20


@dataclass(frozen=True)
class TrainInputs:
    """What a run is made of; its digest is what a checkpoint is resumed by."""

    base: Path
    trajectories: Sequence[Path]
    packs: Sequence[Path]
    config: StudentConfig
    start: Path | None = None
    """Adapter to go on from, None for a new one."""
    world: str = DEFAULT_WORLD
    """What the trajectories were played in, see load_world."""

    def record(self) -> dict[str, Any]:
        """By content. Raises TrainError for a missing file."""
        return {
            "config": self.config.to_json(),
            "prompt_version": PROMPT_VERSION,
            "base_weights": weights_digest(self.base),
            "trajectories": [sha256_input(path, "trajectory file") for path in self.trajectories],
            "packs": [sha256_input(path, "memory pack") for path in self.packs],
            "start": adapter_digests(self.start) if self.start else None,
            **world_record(load_world(self.world).name),
        }


def _is_told(trajectory: Trajectory, config: StudentConfig) -> bool:
    """Whether an episode is in the words that are learned from."""
    return config.goals == "all" or (trajectory.goal_source == TEMPLATE) == (config.goals == TEMPLATE)


class TrainingRun:
    """A training run: its data, its trainer, and how far it is."""

    def __init__(self, inputs: TrainInputs, threads: int, on_stage: Callable[[str], object]) -> None:
        """on_stage: called with what it is doing, before it does it."""
        from duomem.train.lora_trainer import LoraTrainer

        config, world = inputs.config, load_world(inputs.world)
        self._config = config
        on_stage("reading the episodes")
        trajectories = [t for path in inputs.trajectories for t in read_train_trajectories(path) if _is_told(t, config)]
        started = read_hold_out(inputs.start) if inputs.start else None
        self._held = started or hold_out(trajectories, config.hold_out_games, config.hold_out_scenes)
        on_stage("choosing memories")
        packs = [read_pack(path) for path in inputs.packs]
        memories = self._held.memories(m for pack in packs for m in pack.memories)
        folds = None
        if any(pack.lexicon for pack in packs):
            folds = LexiconFolds((t.group, said) for t in self._held.rest(trajectories) for said in utterances(t))
        sampler = MemorySampler(
            memories,
            config.memory_prob,
            config.distractor_memory_prob,
            config.corrupted_memory_prob,
            config.max_memories,
            folds.of if folds else lambda group: None,
            world.place_kinds,
        )
        tokenizer = PromptTokenizer(inputs.base, world=world)

        def dataset(episodes: Sequence[Trajectory]) -> EpisodeDataset:
            return EpisodeDataset(episodes, sampler, tokenizer, config.seed, config.max_tokens)

        on_stage("tokens of the held-out episodes")
        taught = dataset(self._held.rest(trajectories))
        if not len(taught):
            raise TrainError(
                f"{', '.join(map(str, inputs.trajectories))}: no won episode that is not held out: nothing to train on"
            )
        self._size = len(taught)
        self._stream = batches(taught, config.batch_size, _SORT_WINDOW, config.seed)
        self._validation = {
            kind: found
            for kind, episodes in self._held.validation(trajectories).items()
            if (found := list(dataset(episodes).epoch(0)))
        }
        on_stage("loading the base model")
        self.trainer: LoraTrainer = LoraTrainer(inputs.base, config, threads, inputs.start)
        self.step = 0
        self.tokens = 0
        self._used = 0.0
        self._padded = 0
        self._losses: list[float] = []
        self._best: dict[str, Any] = {"step": 0, "loss": float("inf"), "worse": 0, "weights": {}, "validated": {}}
        self._validated: dict[str, dict[str, float]] = {}
        self._start_clock(0.0, 0.0)

    def _start_clock(self, wall: float, cpu: float) -> None:
        self._wall, self._cpu = time.monotonic() - wall, time.process_time() - cpu

    def wall(self) -> float:
        """Seconds of training, summed over resumed parts."""
        return time.monotonic() - self._wall

    def cpu(self) -> float:
        """CPU seconds of this process, all threads, summed over resumed parts."""
        return time.process_time() - self._cpu

    def next_batch(self) -> list[Example]:
        """The next batch of the run's one fixed order."""
        return next(self._stream)

    def expected_steps(self) -> float:
        """How many steps it takes to the nearest limit, at the pace so far; a validation may end it sooner."""
        return max(self.step, min(self._config.max_steps, self.step / max(self._used, 1e-9)))

    def _share(self) -> float:
        """Used share of the nearest limit, the same in every process."""
        shares = [self.step / self._config.max_steps]
        if self._config.minutes:
            shares.append(self.wall() / 60 / self._config.minutes)
        if self._config.cpu_minutes:
            shares.append(self.cpu() / 60 / self._config.cpu_minutes)
        self._used = self.trainer.all_reduce_max(max(shares))
        return self._used

    def ended(self) -> bool:
        """Whether a limit is reached; never before a step."""
        return self.step > 0 and (self._share() >= 1 or self.should_stop_early())

    def should_stop_early(self) -> bool:
        """Whether validation has not got better for too long."""
        return 0 < self._config.patience <= self._best["worse"]

    def update(self, batch: Sequence[Example]) -> dict[str, Any]:
        """One optimiser step; returns the row of the log."""
        from duomem.train.lora_trainer import lr_at

        began = time.monotonic()
        micros = micro_batches(batch, self._config.micro_batch_tokens, self.trainer.processes)
        lr = lr_at(self._config, self.step, self._share())
        loss = self.trainer.update(micros, lr)
        tokens, computed = sum(len(e.tokens) for e in batch), sum(map(padded, micros))
        self.step += 1
        self.tokens += tokens
        self._padded += computed
        self._losses = [*self._losses[1 - _AVERAGE :], loss]
        return {
            "step": self.step,
            "epoch": round(self.step * self._config.batch_size / self._size, 4),
            "tokens": self.tokens,
            "loss": round(loss, 5),
            "lr": lr,
            "tokens_s": round(tokens / (time.monotonic() - began), 1),
            "padding": round(1 - tokens / computed, 4),
            "micro_batches": len(micros),
            **self._cost(),
        }

    def _cost(self) -> dict[str, Any]:
        return {"seconds": round(self.wall(), 1), "cpu_seconds": round(self.cpu(), 1), "peak_rss": peak_rss()}

    def validate(self) -> dict[str, Any]:
        """{"validation": {"games" and "scenes": loss and accuracy}}, of the held-out episodes there are; keeps
        count of the best loss, that of known scenes if there is one.
        """
        found = {kind: self.trainer.measure(examples) for kind, examples in self._validation.items()}
        if not found:
            return {}
        self._validated = {kind: {k: round(v, 5) for k, v in values.items()} for kind, values in found.items()}
        loss = next(iter(found.values()))["loss"]
        if loss < self._best["loss"]:
            kept = self.trainer.weights() if self._config.patience else {}
            self._best = {"step": self.step, "loss": loss, "worse": 0, "weights": kept, "validated": self._validated}
        else:
            self._best["worse"] += 1
        return {"validation": self._validated}

    def write(self, log: Path, row: dict[str, Any]) -> None:
        """Append `row` to the log."""
        if self.trainer.is_main:
            with open(log, "a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")

    def result(self) -> dict[str, Any]:
        """The finished run in figures; the trainer then holds the weights to keep."""
        kept, validated = self.step, self._validated
        if self._best["weights"]:
            self.trainer.set_weights(self._best["weights"])
            kept, validated = self._best["step"], self._best["validated"]
        return {
            "steps": self.step,
            "kept_step": kept,
            "tokens": self.tokens,
            "padding": round(1 - self.tokens / self._padded, 4),
            "trainable": self.trainer.trainable,
            "processes": self.trainer.processes,
            "loss": round(self.average(), 4),
            "validation": validated,
            "held_out": self._held.record(),
            **self._cost(),
        }

    def average(self) -> float:
        """Mean loss of the last steps."""
        return sum(self._losses) / max(1, len(self._losses))

    def save(self, work: Path, record: dict[str, Any]) -> None:
        """Write a checkpoint."""
        if self.trainer.is_main:
            save_checkpoint(
                work,
                record,
                self.trainer.state()
                | {
                    "step": self.step,
                    "tokens": self.tokens,
                    "padded": self._padded,
                    "losses": self._losses,
                    "best": self._best,
                    "validated": self._validated,
                    "seconds": self.wall(),
                    "cpu_seconds": self.cpu(),
                },
            )

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, at the batch it was made before."""
        self.trainer.restore(state)
        self.step, self.tokens, self._padded = state["step"], state["tokens"], state["padded"]
        self._losses, self._best, self._validated = state["losses"], state["best"], state["validated"]
        for _ in range(self.step):
            next(self._stream)
        self._start_clock(state["seconds"], state["cpu_seconds"])
