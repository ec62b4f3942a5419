"""LoRA training of a student on won episodes: resumable, validated on held-out train games, capped by time.

Runs in one process, or in several under `accelerate launch`: they share each batch.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from duomem.core.claim import Claim, claimed
from duomem.core.errors import TrainError
from duomem.core.files import read_jsonl, write_bytes, write_json
from duomem.core.progress import progress
from duomem.train.base_model import saving
from duomem.train.checkpoint import load_checkpoint, uninterrupted
from duomem.train.holdout import RECORD
from duomem.train.plot import plot_training
from duomem.train.precision import training_dtype
from duomem.train.training_run import TrainingRun, TrainInputs

LOG = "log.jsonl"
PLOT = "training.png"
_CHECKPOINT_SECONDS = 120


def train(inputs: TrainInputs, out: Path, threads: int) -> dict[str, Any]:
    """Train an adapter and write it to the folder `out`: peft's format, fp16; beside it the record
    (duomem.json), the log (a JSON object a step) and a plot of it.

    The config says when it ends, not without a step; the learning rate ends its decay there. A checkpoint of
    the same inputs beside `out` is resumed; a finished run of the same inputs is left as it is. Returns the
    record. Raises TrainError, and FileError if another process trains into `out`.
    """
    if os.environ.get("RANK", "0") != "0":  # of several processes the first alone writes
        return _train(inputs, out, threads, Claim(out))
    with claimed(out) as claim:
        return _train(inputs, out, threads, claim)


def _train(inputs: TrainInputs, out: Path, threads: int, claim: Claim) -> dict[str, Any]:
    _set_up_cpu()
    work = out.parent / f"{out.name}.training"
    with progress(None, "preparing") as bar:
        bar.note("digests of the inputs")
        inputs = replace(inputs, config=replace(inputs.config, dtype=training_dtype(inputs.config.dtype)))
        record = inputs.record()
        done = _finished(out, record)
        if done is not None:
            return done
        if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / "adapter_config.json").is_file())):
            raise TrainError(f"--out {out}: exists and is no adapter: give another folder, or remove it")
        run = TrainingRun(inputs, threads, bar.note)
        state = load_checkpoint(work, record)
        if state:
            run.restore(state)
        bar.note("the first batch")
        batch = run.next_batch()  # fails, if at all, before anything is written
    if run.trainer.is_main:
        work.mkdir(parents=True, exist_ok=True)
        _cut_log(work / LOG, run.step)
    over, saved = run.ended(), time.monotonic()
    with progress(None, "training", inputs.config.max_steps, "steps", run.step) as bar:
        if inputs.config.compile:
            bar.note("compiling the layers")
        try:
            while not over:
                with uninterrupted():
                    row = run.update(batch)
                    over = run.ended()
                    if over or run.step % inputs.config.validate_every == 0:
                        row |= run.validate()
                        over = over or run.should_stop_early()
                    run.write(work / LOG, row)
                    batch = run.next_batch()
                bar.total = run.expected_steps()
                bar.update()
                bar.note(f"loss {run.average():.3f}, {run.tokens / run.wall():.0f} tokens/s")
                if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    run.save(work, record)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            run.save(work, record)
            raise
    record |= run.result()
    if run.trainer.is_main:
        with progress(None, "writing the adapter"), claim.folder() as folder, saving(out):
            run.trainer.save_adapter(folder)
            write_json(folder / RECORD, record)
            (folder / LOG).write_bytes((work / LOG).read_bytes())
            plot_training(folder / LOG, folder / PLOT)
        for file in work.iterdir():
            file.unlink()
        work.rmdir()
    run.trainer.wait()
    return record


def _set_up_cpu() -> None:
    """What torch reads once, when it loads. Two OpenMP threads collapse under contention unless they wait
    passively; oneDNN keeps the code of 1,024 products of matrices unless told otherwise, 5 GB of them.
    """
    for name, value in (
        ("OMP_WAIT_POLICY", "PASSIVE"),
        ("GOMP_SPINCOUNT", "0"),
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"),
    ):
        os.environ.setdefault(name, value)


def _finished(out: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and all(found.get(k) == v for k, v in record.items()) else None


def _cut_log(log: Path, steps: int) -> None:
    """Drop what was logged after the checkpoint that training goes on from."""
    rows = list(read_jsonl(log, "training log"))[:steps] if log.is_file() else []
    write_bytes(log, "".join(json.dumps(row) + "\n" for row in rows).encode())
