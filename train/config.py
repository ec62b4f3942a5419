"""A student as data: the frozen config read from configs/students/NAME.toml, in one place.

Every number that shapes a training run is here, and in the run's record.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from duomem.configs import student_files
from duomem.core.errors import ConfigError, UserError
from duomem.core.files import read_toml
from duomem.device.alfworld.annotations import GOALS
from duomem.train.architecture import TABLE
from duomem.train.precision import AUTO

MAX_TRAINABLE = 10_000_000


@dataclass(frozen=True)
class StudentConfig:
    """model: see base_model.resolve_base_model. rank, target_modules: LoRA's ("all-linear", or names and commas).

    learning_rate: peak, with linear warm-up over `warmup_steps` and cosine decay to `final_lr_ratio` of it at the
    end, which is after `max_steps` optimiser steps, `minutes` or `cpu_minutes` of all threads together (0: no
    limit), whichever comes first. batch_size: episodes an optimiser step, over all processes;
    micro_batch_tokens: most tokens, padding included, computed at once: it bounds memory, and how often
    gradients accumulate follows from it; max_tokens: longest episode kept.
    memory_prob: chance of memories for the task in context; max_memories: one to so many are asked for;
    distractor_memory_prob: chance of one of another task type; corrupted_memory_prob: of a corrupted step in a
    memory for the task.
    goals: whose words are learned from, "template" or "human", "all" for both.
    hold_out_games, hold_out_scenes: shares of the train games and of the floor plans kept from training;
    validate_every: steps between measurements on them; patience: how many of those without a lower loss end
    the training, with the weights of the best one (0: never).
    dtype: of the frozen weights and of activations: "bfloat16", "float32", or "auto" for the one that the machine
    computes faster (see precision.py); adapter and optimiser are fp32.
    compile: run the decoder layers through torch.compile (needs a C++ compiler).
    """

    model: str
    rank: int = 16
    target_modules: str = "all-linear"
    learning_rate: float = 1.5e-3
    final_lr_ratio: float = 0.03
    warmup_steps: int = 20
    grad_clip: float = 1.0
    max_steps: int = 540
    minutes: float = 60.0
    cpu_minutes: float = 0.0
    batch_size: int = 8
    micro_batch_tokens: int = 2048
    max_tokens: int = 2048
    memory_prob: float = 0.6
    max_memories: int = 1
    distractor_memory_prob: float = 0.15
    corrupted_memory_prob: float = 0.0
    goals: str = "all"
    hold_out_games: float = 0.02
    hold_out_scenes: float = 0.0
    validate_every: int = 100
    patience: int = 0
    dtype: str = "auto"
    compile: bool = True
    seed: int = 0

    @property
    def alpha(self) -> int:
        """LoRA's scale: alpha / rank = 2, as in the paper."""
        return 2 * self.rank

    def __post_init__(self) -> None:
        for field in (
            "rank",
            "batch_size",
            "micro_batch_tokens",
            "max_steps",
            "max_tokens",
            "max_memories",
            "warmup_steps",
            "validate_every",
        ):
            if getattr(self, field) < 1:
                raise ConfigError(f"student config: field {field} must be at least 1")
        for field in ("memory_prob", "distractor_memory_prob", "corrupted_memory_prob", "final_lr_ratio"):
            if not 0 <= getattr(self, field) <= 1:
                raise ConfigError(f"student config: field {field} must be between 0 and 1")
        for field in ("hold_out_games", "hold_out_scenes"):
            if not 0 <= getattr(self, field) <= 0.5:
                raise ConfigError(f"student config: field {field} must be between 0 and 0.5")
        for field in ("minutes", "cpu_minutes", "patience"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(f"student config: field {field} must be 0 (no limit) or above")
        for field in ("learning_rate", "grad_clip"):
            if not 0 < getattr(self, field) < math.inf:
                raise ConfigError(f"student config: field {field} must be above 0")
        if self.goals not in ("all", *GOALS):
            raise ConfigError("student config: field goals must be all, template or human")
        if self.dtype not in (AUTO, "bfloat16", "float32"):
            raise ConfigError("student config: field dtype must be auto, bfloat16 or float32")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def load_config(path: Path) -> StudentConfig:
    """Read a student's TOML file. Raises ConfigError naming the file and the field that is wrong."""
    values = read_toml(path, "student config")
    values.pop(TABLE, None)  # read_architecture's
    known = {f.name: f for f in fields(StudentConfig)}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{path}: unknown field {name}: known are {', '.join(known)}")
        default = known[name].default
        kind = type(default) if name != "model" else str
        good = type(value) in (int, float) if kind is float else type(value) is kind
        if not good:
            raise ConfigError(f"{path}: field {name} must be a {kind.__name__}")
    if "model" not in values:
        raise ConfigError(f"{path}: field model is missing: give smollm2-135m, a folder or a hub id")
    try:
        return StudentConfig(**values)
    except UserError as e:
        raise ConfigError(f"{path}: {e}") from None


def find_config(name: str) -> StudentConfig:
    """The student `name` of configs/students, or the TOML file it is a path of. Raises ConfigError."""
    if name.endswith(".toml"):
        return load_config(Path(name))
    shipped = student_files()
    if name not in shipped:
        raise ConfigError(f"--config {name}: no such student: known are {', '.join(shipped)}; or give a TOML file")
    return load_config(shipped[name])
