"""onnxruntime-genai as an engine under test: `python -m duomem.compile.export.onnxruntime_genai`, a bench worker.

Its own model builder makes the ONNX model from a Hugging Face folder, so the 4-bit weights are not the bundle's.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.errors import CompileError
from duomem.core.process import Process, python_module
from duomem.device.bench.worker import serve

HOW_TO_GET_IT = "packages are missing: pip install onnxruntime-genai onnx onnx-ir torch transformers (docs/bench.md)"
WEIGHTS = "int4 of its own model builder, groups of 32, accuracy level 4 (8-bit activations)"
_OPTIONS = ("int4_block_size=32", "int4_accuracy_level=4", "prune_lm_head=true")
_BUILD_SECONDS = 1800.0


def build_onnx(model: Path, folder: Path) -> None:
    """Write the model of the Hugging Face folder `model` as 4-bit ONNX to the new folder `folder`.

    Raises CompileError, naming `model`, if the builder fails.
    """
    words = ["-i", str(model), "-o", str(folder), "-p", "int4", "-e", "cpu", "-c", str(folder.parent / "cache")]
    command = python_module("onnxruntime_genai.models.builder", *words, "--extra_options", *_OPTIONS)
    with Process(command, _BUILD_SECONDS, environment={"HF_HUB_OFFLINE": "1"}) as builder:
        builder.succeed(f"{model}: onnxruntime-genai's model builder", "onnx", CompileError)


class OnnxRuntimeGenaiEngine:
    """An ONNX model on onnxruntime's CPU provider (keeps `device.bench.bench_engine.BenchEngine`)."""

    def __init__(self, folder: str, context_length: int, threads: int) -> None:
        """Load the model in `folder` with room for `context_length` tokens. Raises CompileError."""
        try:
            api = importlib.import_module("onnxruntime_genai")
        except ImportError:
            raise CompileError(HOW_TO_GET_IT) from None
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        try:
            config = api.Config(folder)
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            model = api.Model(config)
            search = api.GeneratorParams(model)
            search.set_search_options(max_length=context_length + 1, do_sample=False)
            self._generator = api.Generator(model, search)
        except RuntimeError as e:
            raise CompileError(f"{folder}: onnxruntime-genai cannot load it ({e}): try another version") from None
        self._base = 0

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "onnxruntime-genai",
            "onnxruntime-genai": importlib.metadata.version("onnxruntime-genai"),
            "onnxruntime": importlib.metadata.version("onnxruntime"),
        }

    def prefill(self, tokens: Sequence[int]) -> float:
        ids = np.asarray(tokens, np.int32)
        begin = time.perf_counter()
        self._append(ids)
        seconds = time.perf_counter() - begin
        self._generator.rewind_to(self._base)
        return seconds

    def decode(self, tokens: Sequence[int]) -> float:
        ids = [np.asarray([token], np.int32) for token in tokens]
        begin = time.perf_counter()
        for one in ids:
            self._append(one)
        seconds = time.perf_counter() - begin
        self._generator.rewind_to(self._base)
        return seconds

    def extend(self, tokens: Sequence[int]) -> None:
        self._append(np.asarray(tokens, np.int32))
        self._base += len(tokens)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """As `BenchEngine.logits`, one by one: the model computes the logits of the last token alone."""
        rows = [self._append(np.asarray([token], np.int32)).reshape(-1) for token in tokens]
        self._generator.rewind_to(self._base)
        return np.stack(rows).astype(np.float32)

    def _append(self, ids: np.ndarray) -> np.ndarray:
        self._generator.append_tokens(ids)
        return self._generator.get_logits()


def load(options: dict[str, Any]) -> OnnxRuntimeGenaiEngine:
    """The engine that `options` (folder, context_length, threads) describe."""
    return OnnxRuntimeGenaiEngine(options["folder"], options["context_length"], options["threads"])


if __name__ == "__main__":
    serve(load)
