"""OpenVINO as an engine under test: `python -m duomem.compile.export.openvino`, a bench worker.

Its reader of GGUF files (`... openvino FILE`) makes OpenVINO's model of one; the worker runs that model directly.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.errors import CompileError
from duomem.core.process import Process, python_module
from duomem.device.bench.worker import serve

HOW_TO_GET_IT = "packages are missing: pip install openvino-genai gguf (docs/bench.md)"
_MODEL = "openvino_model.xml"
_BUILD_SECONDS = 600.0


def build_openvino(gguf: Path) -> Path:
    """Have openvino-genai write OpenVINO's model of the file `gguf` beside it; the file of that model.

    Raises CompileError if it cannot read such a GGUF file: it knows few architectures.
    """
    with Process(python_module("duomem.compile.export.openvino", str(gguf)), _BUILD_SECONDS) as reader:
        reader.succeed("--vs openvino: openvino-genai's reader of GGUF", "openvino", CompileError)
    return gguf.with_name(_MODEL)


def _convert(gguf: Path) -> None:
    """The reader's process. After the model it looks for a vocabulary, which duomem's files have none of."""
    genai = importlib.import_module("openvino_genai")
    try:
        genai.LLMPipeline(str(gguf), "CPU", enable_save_ov_model=True)
    except (IndexError, RuntimeError):
        if not gguf.with_name(_MODEL).exists():
            raise


class OpenVinoEngine:
    """An OpenVINO model on its CPU plugin (keeps `device.bench.bench_engine.BenchEngine`)."""

    def __init__(self, file: str, threads: int) -> None:
        """Load the model in `file`. Raises CompileError."""
        try:
            api = importlib.import_module("openvino")
        except ImportError:
            raise CompileError(HOW_TO_GET_IT) from None
        self._api = api
        try:
            core = api.Core()
            model = core.read_model(file)
            _keep_last_token(api, model)
            compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1})
            self._request = compiled.create_infer_request()
        except RuntimeError as e:
            raise CompileError(f"{file}: OpenVINO cannot load it ({e}): try another version") from None
        self._precisions = {
            "inference_precision": compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
            "kv_cache_precision": compiled.get_property("KV_CACHE_PRECISION").to_string(),
        }
        self._base = self._length = 0
        self._states: list[Any] = []

    def facts(self) -> dict[str, Any]:
        packages = {name: importlib.metadata.version(name) for name in ("openvino", "openvino-genai")}
        return {"engine": "openvino"} | packages | self._precisions

    def prefill(self, tokens: Sequence[int]) -> float:
        begin = time.perf_counter()
        self._append(tokens)
        seconds = time.perf_counter() - begin
        self._restore()
        return seconds

    def decode(self, tokens: Sequence[int]) -> float:
        begin = time.perf_counter()
        for token in tokens:
            self._append([token])
        seconds = time.perf_counter() - begin
        self._restore()
        return seconds

    def extend(self, tokens: Sequence[int]) -> None:
        self._append(tokens)
        self._base = self._length
        self._states = [self._api.Tensor(np.array(state.state.data)) for state in self._request.query_state()]

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """As `BenchEngine.logits`, one by one: the model computes the logits of the last token alone."""
        rows = [self._append([token]).reshape(-1) for token in tokens]
        self._restore()
        return np.stack(rows).astype(np.float32)

    def _append(self, tokens: Sequence[int]) -> np.ndarray:
        """The logits after the last of `tokens`. Raises CompileError if the plugin gives none."""
        end = self._length + len(tokens)
        outputs = self._request.infer(
            {
                "input_ids": np.asarray([tokens], np.int64),
                "attention_mask": np.ones((1, end), np.int64),
                "position_ids": np.arange(self._length, end, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, np.int32),
            },
            share_inputs=True,
        )
        self._length = end
        if not outputs[0].size:
            raise CompileError("OpenVINO computed nothing: unset ONEDNN_MAX_CPU_ISA, which its CPU plugin cannot bear")
        return outputs[0]

    def _restore(self) -> None:
        """Back to the base."""
        if self._base:
            for state, kept in zip(self._request.query_state(), self._states, strict=True):
                state.state = kept
        else:
            self._request.reset_state()
        self._length = self._base


def _keep_last_token(api: Any, model: Any) -> None:
    """Compute the logits of the last token alone, as openvino-genai's own pipeline does."""
    head = model.get_results()[0].input_value(0).get_node()
    while head.get_type_name() != "MatMul":
        head = head.input_value(0).get_node()
    begin, end, step, axis = (api.opset13.constant([number], dtype=np.int64) for number in (-1, 2**62, 1, 1))
    last = api.opset13.slice(head.input_value(0), begin, end, step, axis)
    head.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()


def load(options: dict[str, Any]) -> OpenVinoEngine:
    """The engine that `options` (file, threads) describe."""
    return OpenVinoEngine(options["file"], options["threads"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _convert(Path(sys.argv[1]))
    else:
        serve(load)
