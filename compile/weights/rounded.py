"""Calibrated rounding done once a student: its codes and scales are kept for the next target of the same student.

A file holds the arrays of every matrix, as gptq gives them one after another, and a SHA-256 of them: their sizes follow
from the config. Neither writing nor reading takes memory for more than one matrix.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import IO

import numpy as np

from duomem.compile.models.config import Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.gptq import Calibration, calibrated_order, quantize_calibrated
from duomem.core.claim import claimed
from duomem.core.package import own_digests
from duomem.core.reading import digest_of, open_regular
from duomem.core.user_folders import cache_folder
from duomem.device.engine.schemes import GROUP, SCHEMES

_PATIENCE = 7200.0
"""Seconds to wait for another process that rounds the same student."""
_KEPT_BYTES = 8 << 30
"""Most bytes of files kept; the oldest go first."""
_READ = 1 << 24
"""Bytes of a file that are checked at once."""


class Rounded:
    """An open file of rounded matrices."""

    def __init__(self, file: IO[bytes], places: dict[str, tuple[int, tuple[int, int], tuple[int, int]]]) -> None:
        """places: of each matrix, by its name, where it begins, and the shapes of its q and its scale."""
        self._file, self._places = file, places

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(q, scale), as of `quantize`, of the matrix `name`. Raises OSError."""
        begin, q, scale = self._places[name]
        self._file.seek(begin)
        return _array(self._file, "<u4", q), _array(self._file, "<f4", scale)


@contextlib.contextmanager
def rounded_once(checkpoint: Checkpoint, calibration: Calibration, scheme: str) -> Iterator[Rounded]:
    """What `quantize_calibrated` gives, from the user's cache folder if the same was rounded before.

    A damaged file is made anew. Raises as `quantize_calibrated`, and FileError without a folder to write in.
    """
    file = cache_folder() / "rounded" / f"{_key(checkpoint, calibration, scheme)}.gptq"
    places, size = _places(checkpoint, scheme)
    with contextlib.ExitStack() as stack:
        with claimed(file, _PATIENCE) as claim:
            if (kept := _opened(file, size)) is None:
                with claim.open() as f:
                    digest = hashlib.sha256()

                    def keep(weight: Weight, q: np.ndarray, scale: np.ndarray) -> None:
                        for array, kind in ((q, "<u4"), (scale, "<f4")):
                            part = np.ascontiguousarray(array, kind).data.cast("B")
                            digest.update(part)
                            f.write(part)

                    quantize_calibrated(checkpoint, calibration, scheme, keep)
                    f.write(digest.digest())
                kept = file.open("rb")
            stack.enter_context(kept)
        _make_room(file)
        yield Rounded(kept, places)


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


def _places(checkpoint: Checkpoint, scheme: str) -> tuple[dict[str, tuple[int, tuple[int, int], tuple[int, int]]], int]:
    """Of every matrix (where it begins, shape of q, shape of scale), and the bytes of all."""
    places, position = {}, 0
    for weight in calibrated_order(checkpoint.config):
        n, groups = weight.shape[0], weight.shape[1] // GROUP
        q, scale = (n, groups * SCHEMES[scheme].bits), (n, groups)
        places[weight.name] = position, q, scale
        position += 4 * (math.prod(q) + math.prod(scale))
    return places, position


def _array(file: IO[bytes], kind: str, shape: tuple[int, int]) -> np.ndarray:
    return np.frombuffer(file.read(4 * math.prod(shape)), kind).reshape(shape)


def _opened(file: Path, size: int) -> IO[bytes] | None:
    """The file with `size` bytes of arrays, open; None if it is absent or not whole."""
    with contextlib.ExitStack() as stack:
        try:
            f = stack.enter_context(open_regular(file))
            if os.fstat(f.fileno()).st_size != size + hashlib.sha256().digest_size:
                return None
            digest, left = hashlib.sha256(), size
            while left:
                if not (data := f.read(min(left, _READ))):
                    return None
                digest.update(data)
                left -= len(data)
            if f.read() != digest.digest():
                return None
        except OSError:
            return None
        stack.pop_all()
        return f


def _make_room(newest: Path) -> None:
    """Remove the oldest files beside `newest` until all take at most _KEPT_BYTES."""
    with contextlib.suppress(OSError):
        found = sorted(newest.parent.glob("*.gptq"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in found:
            total += path.stat().st_size
            if total > _KEPT_BYTES and path != newest:
                path.unlink(missing_ok=True)
