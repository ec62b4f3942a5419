"""Checkpoints of a training run: whole updates only, named by the inputs they belong to.

A run that is resumed from one goes on bit for bit as if it had never stopped; where minutes end it, but for the
learning rate, which follows the clock.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duomem.core.errors import TrainError
from duomem.core.files import atomic_open
from duomem.train.base_model import first_line, saving

FILE = "checkpoint.pt"


def save_checkpoint(work: Path, record: dict[str, Any], state: dict[str, Any]) -> None:
    """Write `state` of the run that `record` describes to the folder `work`. Raises TrainError."""
    import torch

    with atomic_open(work / FILE) as f, saving(work / FILE):
        torch.save(state | {"record": record}, f)


def load_checkpoint(work: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint in `work`, None without one. Raises TrainError if it is of other inputs or damaged."""
    import torch

    file = work / FILE
    if not file.is_file():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        found = state["record"]
    except (RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as e:
        raise TrainError(f"{file}: damaged checkpoint ({first_line(e)}): delete {work} to start afresh") from None
    if found != record:
        raise TrainError(f"{file}: checkpoint of a run with other inputs: give another --out, or delete {work}")
    return state


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
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
