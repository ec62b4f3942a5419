"""A student as data: the frozen config read from configs/students/NAME.toml, in one place.

Every number that shapes a training run is here, and in the run's record.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import read_toml

MAX_TRAINABLE = 10_000_000


@dataclass(frozen=True)
class StudentConfig:
    """model: see base_model.resolve_base_model; rank, alpha: LoRA's (alpha / rank = 2 as in the paper).

    learning_rate: peak, with linear warm-up over `warmup_steps` and cosine decay to `final_rate` of it.
    batch_size: episodes an optimiser step; max_steps: optimiser steps; max_tokens: longest episode kept.
    memory_share: chance of a memory in context. dtype: of weights and activations ("bfloat16" or
    "float32"); optimiser state is always fp32. compile: run the decoder layers through torch.compile
    (needs a C++ compiler).
    """

    model: str
    rank: int = 16
    alpha: int = 32
    target_modules: str = "all-linear"
    learning_rate: float = 1.5e-3
    final_rate: float = 0.03
    warmup_steps: int = 20
    batch_size: int = 8
    max_steps: int = 540
    max_tokens: int = 2048
    memory_share: float = 0.6
    grad_clip: float = 1.0
    dtype: str = "bfloat16"
    compile: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("rank", "alpha", "batch_size", "max_steps", "max_tokens", "warmup_steps"):
            if getattr(self, field) < 1:
                raise UserError(f"student config: field {field} must be at least 1")
        for field in ("memory_share", "final_rate"):
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(f"student config: field {field} must be between 0 and 1")
        for field in ("learning_rate", "grad_clip"):
            if not 0 < getattr(self, field) < math.inf:
                raise UserError(f"student config: field {field} must be above 0")
        if self.dtype not in ("bfloat16", "float32"):
            raise UserError("student config: field dtype must be bfloat16 or float32")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def load_config(path: Path) -> StudentConfig:
    """Read a student's TOML file. Raises UserError naming the file and the field that is wrong."""
    values = read_toml(path, "student config")
    known = {f.name: f for f in fields(StudentConfig)}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{path}: unknown field {name}: known are {', '.join(known)}")
        default = known[name].default
        kind = type(default) if name != "model" else str
        good = type(value) in (int, float) if kind is float else type(value) is kind
        if not good:
            raise UserError(f"{path}: field {name} must be a {kind.__name__}")
    if "model" not in values:
        raise UserError(f"{path}: field model is missing: give smollm2-135m, a folder or a hub id")
    try:
        return StudentConfig(**values)
    except UserError as e:
        raise UserError(f"{path}: {e}") from None


def find_config(name: str) -> StudentConfig:
    """The student `name` of configs/students, or the TOML file it is a path of. Raises UserError."""
    shipped = Path(__file__).resolve().parent.parent / "configs" / "students" / f"{name}.toml"
    if name.endswith(".toml"):
        return load_config(Path(name))
    if not shipped.is_file():
        known = ", ".join(sorted(f.stem for f in shipped.parent.glob("*.toml")))
        raise UserError(f"--config {name}: no such student: known are {known}; or give a TOML file")
    return load_config(shipped)
