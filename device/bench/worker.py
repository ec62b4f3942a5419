"""An engine in a process of its own: threads are a process-wide setting, and peaks of memory are a process's.

The child answers one JSON line for each JSON line it is sent, does nothing in between, and ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.errors import DeviceError, UserError
from duomem.core.machine import peak_rss
from duomem.core.process import Process, ending, python_module
from duomem.device.bench.bench_engine import BenchEngine

_THREADS: tuple[str, ...] = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
_END_SECONDS = 10.0


def serve(load: Callable[[dict[str, Any]], BenchEngine]) -> None:
    """Be the child: make the engine by `load` of the first line's options, then answer for it.

    The engine may print what it likes: what goes to standard output is sent to the error stream instead.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        engine: BenchEngine | None = None
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if engine is None:
                    engine = load(request)
                    answer: Any = engine.facts()
                else:
                    answer = _answer(engine, request)
                reply = {"answer": answer}
            except UserError as e:
                reply = {"error": str(e)}
            print(json.dumps(reply), file=answers, flush=True)


def _answer(engine: BenchEngine, request: dict[str, Any]) -> Any:
    name = request["call"]
    if name == "peak_rss":
        return peak_rss()
    if name == "logits":
        return np.save(request["file"], engine.logits(request["tokens"]))
    return getattr(engine, name)(request["tokens"])


class Worker:
    """The parent's end: a `BenchEngine` whose calls run in a child. Use it as a context manager.

    Every call raises DeviceError, naming the engine, if the child fails or dies.
    """

    def __init__(self, name: str, module: str, options: dict[str, Any], threads: int) -> None:
        """Start `python -m module`, whose `serve` loads an engine from `options`, with `threads` threads."""
        self.name, started = name, time.perf_counter()
        environment = dict.fromkeys(_THREADS, str(threads))
        self._process = Process(python_module(module), environment=environment, interactive=True)
        try:
            self._facts = self._ask(options)
        except BaseException:
            self.close()
            raise
        self.load_seconds = time.perf_counter() - started
        """From the start of the process to the model being ready."""

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        with self._process:
            self._process.finish(_END_SECONDS)

    def facts(self) -> dict[str, Any]:
        return self._facts

    def prefill(self, tokens: Sequence[int]) -> float:
        return self._ask({"call": "prefill", "tokens": list(tokens)})

    def decode(self, tokens: Sequence[int]) -> float:
        return self._ask({"call": "decode", "tokens": list(tokens)})

    def extend(self, tokens: Sequence[int]) -> None:
        self._ask({"call": "extend", "tokens": list(tokens)})

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="duomem-bench-") as folder:
            file = Path(folder) / "logits.npy"
            self._ask({"call": "logits", "tokens": list(tokens), "file": str(file)})
            return np.load(file)

    def peak_rss(self) -> int:
        """Bytes of the child's largest resident set so far."""
        return self._ask({"call": "peak_rss"})

    def _ask(self, request: dict[str, Any]) -> Any:
        line = self._process.ask(json.dumps(request))
        if not line:
            how = ending(self._process.wait() or 0)
            raise DeviceError(f"{self.name}: its process ended ({how}): {self._process.last_words()}")
        reply = json.loads(line)
        if "error" in reply:
            raise DeviceError(reply["error"])
        return reply["answer"]
