"""Training and merging a student by its config: what the Python API and the command line share.

The base model is converted or downloaded once, into `models`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from duomem.core.cpu import usable_cores
from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.errors import TrainError
from duomem.core.progress import progress
from duomem.core.trajectory import read_train_trajectories
from duomem.device.world.worlds import named_world
from duomem.memory_packs.pack import read_pack
from duomem.train.base_model import MODELS, resolve_base_model
from duomem.train.config import StudentConfig, find_config
from duomem.train.merge import merge
from duomem.train.trainer import train
from duomem.train.training_run import TrainInputs


def train_student(
    config: str | StudentConfig,
    trajectories: Sequence[Path | str],
    packs: Sequence[Path | str],
    out: Path | str,
    *,
    start: Path | str | None = None,
    threads: int | None = None,
    models: Path | str = MODELS,
    world: str | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train a LoRA adapter on won episodes and write it to a folder.

    config: name of a student ("smollm2-135m"), path of a TOML file, or a config already read.
    trajectories: files of `duomem teach`. packs: .dmpack files, whose memories are shown while training.
    out: adapter folder to write, in peft's format.
    start: adapter folder to go on from, None for a new one. threads: of the CPU, by default one a core.
    models: folder of converted base models. world: what the episodes were played in, if that is none of duomem's
    worlds: MODULE:NAME, see load_world. changes: fields of the config to replace (max_steps=100).

    Returns the run's record: steps, tokens, loss, validation, seconds and more. An interrupted run of the same inputs
    is resumed, a finished one left as it is.
    Raises ConfigError, ModelError, TrajectoryError, PackError or TrainError.
    """
    student = replace(_config(config), **changes)
    trajectory_files, pack_files = [*map(Path, trajectories)], [*map(Path, packs)]
    played: dict[str, Path] = {}
    with progress(None, "reading the inputs") as bar:  # a wrong file is told before the base model is converted
        for path in pack_files:
            read_pack(path)
        for path in trajectory_files:
            for n, trajectory in enumerate(read_train_trajectories(path), 1):
                bar.note(f"episode {n} of {path.name}")
                played.setdefault(trajectory.world, path)
    if len(played) > 1:
        raise TrainError(f"{' and '.join(map(str, played.values()))} are of two worlds: a student learns one")
    for name, path in played.items():
        named_world(name, world, str(path))
    base = resolve_base_model(student.model, Path(models))
    started, name = Path(start) if start else None, world or next(iter(played), DEFAULT_WORLD)
    inputs = TrainInputs(base, trajectory_files, pack_files, student, started, name)
    return train(inputs, Path(out), threads or usable_cores())


def merge_student(
    config: str | StudentConfig, adapter: Path | str, out: Path | str, *, models: Path | str = MODELS
) -> Path:
    """Merge an adapter into its base model: a plain Hugging Face folder, which `compile_bundle` takes.

    config: the student it was trained as. adapter: folder written by `train_student`. out: folder to write.
    models: folder of converted base models.

    Returns `out`. Raises ConfigError, or ModelError for an adapter that is damaged or does not fit the base.
    """
    return merge(resolve_base_model(_config(config).model, Path(models)), Path(adapter), Path(out))


def _config(config: str | StudentConfig) -> StudentConfig:
    return find_config(config) if isinstance(config, str) else config
