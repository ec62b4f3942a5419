"""Calibrated rounding done once a student: its codes and scales are kept for the next target of the same student.

A file holds a SHA-256 and the arrays of every matrix in the model's order: their sizes follow from the config.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.gptq import Calibration, quantize_calibrated
from duomem.core.claim import claimed
from duomem.core.files import digest_of, open_regular
from duomem.core.package import own_digests
from duomem.core.user_folders import cache_folder
from duomem.device.engine.schemes import GROUP, SCHEMES

_PATIENCE = 7200.0
"""Seconds to wait for another process that rounds the same student."""
_KEPT_BYTES = 8 << 30
"""Most bytes of files kept; the oldest go first."""

Rounded = dict[str, tuple[np.ndarray, np.ndarray]]


def rounded_once(checkpoint: Checkpoint, calibration: Calibration, scheme: str) -> Rounded:
    """`quantize_calibrated`, read from the user's cache folder if the same was rounded before.

    A damaged file is made anew. Raises as `quantize_calibrated`, and FileError without a folder to write in.
    """
    file = cache_folder() / "rounded" / f"{_key(checkpoint, calibration, scheme)}.gptq"
    with claimed(file, _PATIENCE) as claim:
        if (kept := _read(file, checkpoint, scheme)) is not None:
            return kept
        rounded = quantize_calibrated(checkpoint, calibration, scheme)
        digest = hashlib.sha256()
        for part in _parts(checkpoint, rounded):
            digest.update(part)
        with claim.open() as f:
            f.write(digest.digest())
            for part in _parts(checkpoint, rounded):
                f.write(part)
    _make_room(file)
    return rounded


def _key(checkpoint: Checkpoint, calibration: Calibration, scheme: str) -> str:
    return digest_of(
        {
            "model": checkpoint.digest,
            "scheme": scheme,
            "calibration": calibration.record,
            "episodes": calibration.episodes,
            "sources": own_digests("compile/weights", "compile/models", "device/engine"),
            "tools": {name: version(name) for name in ("numpy", "torch", "transformers")},
        }
    )


def _shapes(checkpoint: Checkpoint, scheme: str) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """(name, shape of the uint32 codes, shape of the float32 scales) of every matrix."""
    for weight in checkpoint.config.weights():
        if weight.is_matrix:
            n, groups = weight.shape[0], weight.shape[1] // GROUP
            yield weight.name, (n, groups * SCHEMES[scheme].bits), (n, groups)


def _parts(checkpoint: Checkpoint, rounded: Rounded) -> Iterator[memoryview]:
    for weight in checkpoint.config.weights():
        if weight.is_matrix:
            for array, kind in zip(rounded[weight.name], ("<u4", "<f4"), strict=True):
                yield np.ascontiguousarray(array, kind).data.cast("B")


def _read(file: Path, checkpoint: Checkpoint, scheme: str) -> Rounded | None:
    """What the file holds; None if it is absent or not whole."""
    shapes = list(_shapes(checkpoint, scheme))
    size = 32 + sum(4 * (a[0] * a[1] + b[0] * b[1]) for _, a, b in shapes)
    try:
        with open_regular(file) as f:
            if file.stat().st_size != size:
                return None
            expected, digest, found = f.read(32), hashlib.sha256(), {}
            for name, *both in shapes:
                arrays = []
                for kind, shape in zip(("<u4", "<f4"), both, strict=True):
                    data = f.read(4 * shape[0] * shape[1])
                    digest.update(data)
                    arrays.append(np.frombuffer(data, kind).reshape(shape))
                found[name] = (arrays[0], arrays[1])
    except (OSError, ValueError):
        return None
    return found if digest.digest() == expected else None


def _make_room(newest: Path) -> None:
    """Remove the oldest files beside `newest` until all take at most _KEPT_BYTES."""
    with contextlib.suppress(OSError):
        found = sorted(newest.parent.glob("*.gptq"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in found:
            total += path.stat().st_size
            if total > _KEPT_BYTES and path != newest:
                path.unlink(missing_ok=True)
