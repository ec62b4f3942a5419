"""The compiled student as an engine under test: `python -m duomem.device.bench.tvm_bench_engine`, a bench worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duomem.device.bench.worker import serve
from duomem.device.engine.tvm_engine import TvmEngine


class TvmBenchEngine:
    """A bundle on the TVM engine (keeps `device.bench.bench_engine.BenchEngine`)."""

    def __init__(self, folder: Path, device: str, context_length: int, library: str | None = None) -> None:
        """Load the bundle in `folder` with room for `context_length` tokens. Raises DeviceError."""
        self._engine = TvmEngine.load(folder, device, context_length, max_sessions=1, library=library)
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
    """The engine that `options` (folder, device, context_length and, where one is forced, library) describe."""
    return TvmBenchEngine(Path(options["folder"]), options["device"], options["context_length"], options.get("library"))


if __name__ == "__main__":
    serve(load)
