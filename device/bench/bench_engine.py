"""An engine under test, and the compiled student as one.

Everything the bench measures goes through these few calls, so another engine is measured in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from duomem.device.bench.worker import serve


class BenchEngine(Protocol):
    """A loaded model with one token sequence, the base, which starts empty."""

    def facts(self) -> dict[str, Any]:
        """What is measured: names, versions, settings, as a JSON object."""
        ...

    def prefill(self, tokens: Sequence[int]) -> float:
        """Seconds to append `tokens` to the base up to the logits of the last; then forgets them."""
        ...

    def decode(self, tokens: Sequence[int]) -> float:
        """Seconds to append `tokens` to the base one by one, with logits after each; then forgets them."""
        ...

    def extend(self, tokens: Sequence[int]) -> None:
        """Append `tokens` to the base."""
        ...

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """Append `tokens` to the base, float32 logits [len(tokens), vocab] after each; then forgets them."""
        ...


class TvmBenchEngine:
    """A bundle on the TVM engine."""

    def __init__(self, folder: Path, device: str, context_length: int) -> None:
        """Load the bundle in `folder` with room for `context_length` tokens. Raises DeviceError."""
        from duomem.device.engine.tvm_engine import TvmEngine

        self._engine = TvmEngine.load(folder, device, context_length, max_sessions=1)
        self._session = self._engine.session()

    def facts(self) -> dict[str, Any]:
        library = self._engine.library
        return {"engine": "duomem", "library": library.file, "cpu_features": sorted(library.cpu_features)}

    def prefill(self, tokens: Sequence[int]) -> float:
        begin = time.perf_counter()
        self._session.prefill(tokens)
        seconds = time.perf_counter() - begin
        self._session.rollback(len(tokens))
        return seconds

    def decode(self, tokens: Sequence[int]) -> float:
        begin = time.perf_counter()
        for token in tokens:
            self._session.decode(token)
        seconds = time.perf_counter() - begin
        self._session.rollback(len(tokens))
        return seconds

    def extend(self, tokens: Sequence[int]) -> None:
        self._session.prefill(tokens)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        result = self._session.prefill_all(tokens)
        self._session.rollback(len(tokens))
        return result


def load(options: dict[str, Any]) -> TvmBenchEngine:
    """The engine that `options` (folder, device, context_length) describe."""
    return TvmBenchEngine(Path(options["folder"]), options["device"], options["context_length"])


if __name__ == "__main__":
    serve(load)
