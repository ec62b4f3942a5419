"""The gate's reference process: `python -m duomem.compile.gate.reference JOB.json`, transformers in float32.

Reads the job (see gate); writes original.npy, expected.npy and JOB.result.json beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from duomem.compile.gate.job import run_job
from duomem.compile.gate.steps import Choices, RecordedEpisode
from duomem.compile.models.config import Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.layered import EMBEDDING, LayeredModel, Read, split
from duomem.compile.weights.quantize import load_stored
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
    model = LayeredModel(checkpoint)
    episodes = [RecordedEpisode.from_json(value) for value in job["episodes"]]
    prompts = job["prompts"]
    texts = [*prompts, *(episode.tokens for episode in episodes)]
    rows = [range(len(tokens)) for tokens in prompts] + [episode.rows for episode in episodes]
    choices = Choices()
    original = []
    for i, logits in enumerate(_logits(model, checkpoint.tensor, texts, rows)):
        if i < len(prompts):
            original.append(logits)
            continue
        for step in episodes[i - len(prompts)].steps:
            choices.add(step, logits[: len(step.allowed)])
            logits = logits[len(step.allowed) :]
    np.save(folder / "original.npy", np.concatenate(original))
    del original
    stored = _Stored(checkpoint, Path(job["model_dir"]), job["scheme"])
    expected = list(_logits(model, stored.tensor, prompts, rows[: len(prompts)]))
    np.save(folder / "expected.npy", np.concatenate(expected))
    return {
        "name": f"transformers {transformers.__version__}, torch {torch.__version__}, float32",
        "choices": vars(choices),
    }


class _Stored:
    """The weights as stored, each checked against the model's when it is first read."""

    def __init__(self, checkpoint: Checkpoint, folder: Path, scheme: str) -> None:
        self._checkpoint, self._scheme = checkpoint, scheme
        self._records = read_tensor_cache(folder)
        self._weights = {source: weight for weight in checkpoint.config.weights() for source in weight.sources}
        self._read: dict[str, np.ndarray] = {}

    def tensor(self, source: str) -> np.ndarray:
        """The value of the model folder's tensor `source`, read once from what is stored. Raises GateError."""
        if source not in self._read:
            weight = self._weights[source]
            array = load_stored(weight, self._records, self._scheme)
            check_stored(weight, array, self._checkpoint.blocks(weight))
            self._read |= split(self._checkpoint.config, weight, array)
        return self._read.pop(source)


def _logits(model: LayeredModel, read: Read, texts: Sequence[Any], rows: Sequence[Any]) -> Iterator[np.ndarray]:
    """float32 logits [n, vocab] of each text at its n `rows`: token ids, all of them layer by layer."""
    with torch.inference_mode():
        hidden = model.embed(texts, lambda ids: read(EMBEDDING)[ids])
        for i in range(len(model)):
            with model.layer(i, read) as layer:
                hidden = [model.forward(i, layer, h) for h in hidden]
        head = read(model.head_source)
        norm = read("model.norm.weight")
        for h, kept in zip(hidden, rows, strict=True):
            yield model.logits(h[:, list(kept)], norm, head).numpy()


def check_stored(weight: Weight, array: np.ndarray, original: Iterable[np.ndarray]) -> None:
    """Raise GateError unless `array`, as stored, is a rounding of `original`, which comes in blocks of rows."""
    row = 0
    for block in original:
        _check_rows(weight, array[row : row + len(block)], block, row)
        row += len(block)


def _check_rows(weight: Weight, array: np.ndarray, original: np.ndarray, first: int) -> None:
    """`check_stored` of some rows, the first of which is row `first`."""
    groups = [x.reshape(-1, GROUP if x.shape[-1] % GROUP == 0 else x.shape[-1]) for x in (array - original, original)]
    by_group = [np.einsum("gk,gk->g", x, x) for x in groups]
    per_row = original.shape[-1] // groups[0].shape[1]
    by_row = [x.reshape(-1, per_row).sum(axis=1) for x in by_group]
    bounds = (GROUP_BOUND, ROW_BOUND) if weight.is_matrix else (VECTOR_BOUND, VECTOR_BOUND)
    for (error, norm), bound, a_row in zip((by_group, by_row), bounds, (per_row, 1), strict=True):
        bad = np.flatnonzero(~(error <= bound**2 * norm))
        if bad.size:
            raise GateError(
                f"parity gate: {weight.name}, row {first + bad[0] // a_row}: what is stored is no rounding of the "
                "model's weight, so no bundle was written: report this"
            )


if __name__ == "__main__":
    run_job(measure)
