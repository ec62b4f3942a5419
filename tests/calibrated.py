"""What calibrated rounding gives, by name, and how near its outputs stay."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from duomem.compile.models.config import Weight
from duomem.compile.weights import gptq
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.gptq_matrix import Gptq
from duomem.compile.weights.quantize import dequantize, quantize

Stored = tuple[np.ndarray, np.ndarray]


def calibrated(checkpoint: Checkpoint, calibration: gptq.Calibration, scheme: str) -> dict[str, Stored]:
    """(q, scale) of every matrix, in the order they come."""
    found = {}

    def keep(weight: Weight, q: np.ndarray, scale: np.ndarray) -> None:
        found[weight.name] = q, scale

    gptq.quantize_calibrated(checkpoint, calibration, scheme, keep)
    return found


class WatchedGptq(Gptq):
    """Notes the squared error on the calibration's inputs, |X (Q - W)^T|^2, of GPTQ and of plain rounding."""

    errors: list[tuple[float, float]]

    def __init__(self, hessian: np.ndarray, scheme: str) -> None:
        super().__init__(hessian, scheme)
        self.hessian, self.scheme = hessian, scheme

    def round(self, n: int, blocks: Iterable[np.ndarray]) -> Stored:
        w = np.concatenate(list(blocks))
        stored = super().round(n, [w])
        ours, plain = (self._lost(dequantize(*s) - w) for s in (stored, quantize(w, self.scheme)))
        self.errors.append((ours, plain))
        return stored

    def _lost(self, off: np.ndarray) -> float:
        return float(np.einsum("nk,kl,nl->", off, self.hessian, off, optimize=True))
