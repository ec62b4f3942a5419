"""The gate's reference process: `python -m duomem.compile.gate.reference JOB.json`, transformers in float32.

Reads the job (see gate); writes original.npy, expected.npy and JOB.result.json beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from duomem.compile.gate.job import run_job
from duomem.compile.gate.steps import Choices, RecordedEpisode
from duomem.compile.models.config import Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.quantize import load_stored
from duomem.compile.weights.reference import load_reference, set_weight
from duomem.core.errors import GateError
from duomem.device.engine.schemes import GROUP
from duomem.device.engine.weights import read_tensor_cache

GROUP_BOUND = 1.5
"""Largest error of a group of weights, relative to its norm: 2 is a scale of the wrong sign, 1 a group lost.
GPTQ, which moves errors between groups, reaches 1.1 in SmolLM2-135M."""
ROW_BOUND = 1.0
"""Largest error of a row: 1.4 is another row's weights. GPTQ reaches 0.43."""
VECTOR_BOUND = 2.0**-8
"""Largest error of a norm's or a bias's vector, which is rounded to 16 bits at most."""


def measure(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Logits of the original model and of the stored weights on the parity prompts; its choices on the steps.

    Raises GateError if transformers cannot load the model, or a stored weight is not the model's.
    """
    checkpoint = Checkpoint(Path(job["checkpoint"]))
    model = load_reference(checkpoint)
    np.save(folder / "original.npy", np.concatenate([_logits(model, tokens) for tokens in job["prompts"]]))
    choices = Choices()
    for episode in map(RecordedEpisode.from_json, job["episodes"]):
        logits = _logits(model, episode.tokens, episode.rows)
        for step in episode.steps:
            choices.add(step, logits[: len(step.allowed)])
            logits = logits[len(step.allowed) :]
    records = read_tensor_cache(Path(job["model_dir"]))
    for weight in checkpoint.config.weights():
        array = load_stored(weight, records, job["scheme"])
        check_stored(weight, array, checkpoint.matrix(weight))
        set_weight(model, checkpoint.config, weight, array)
    np.save(folder / "expected.npy", np.concatenate([_logits(model, tokens) for tokens in job["prompts"]]))
    return {
        "name": f"transformers {transformers.__version__}, torch {torch.__version__}, float32",
        "choices": vars(choices),
    }


def _logits(model: Any, tokens: Any, rows: list[int] | None = None) -> np.ndarray:
    """float32 logits [n, vocab], n all tokens or those at `rows`."""
    keep = 0 if rows is None else torch.tensor(rows)
    with torch.inference_mode():
        return model(torch.tensor([list(tokens)]), logits_to_keep=keep, use_cache=False).logits[0].numpy()


def check_stored(weight: Weight, array: np.ndarray, original: np.ndarray) -> None:
    """Raise GateError unless `array`, as stored, is a rounding of `original`."""
    groups = [x.reshape(-1, GROUP if x.shape[-1] % GROUP == 0 else x.shape[-1]) for x in (array - original, original)]
    by_group = [np.einsum("gk,gk->g", x, x) for x in groups]
    per_row = original.shape[-1] // groups[0].shape[1]
    by_row = [x.reshape(-1, per_row).sum(axis=1) for x in by_group]
    bounds = (GROUP_BOUND, ROW_BOUND) if weight.is_matrix else (VECTOR_BOUND, VECTOR_BOUND)
    for (error, norm), bound, a_row in zip((by_group, by_row), bounds, (per_row, 1), strict=True):
        bad = np.flatnonzero(~(error <= bound**2 * norm))
        if bad.size:
            raise GateError(
                f"parity gate: {weight.name}, row {bad[0] // a_row}: what is stored is no rounding of the "
                "model's weight, so no bundle was written: report this"
            )


if __name__ == "__main__":
    run_job(measure)
