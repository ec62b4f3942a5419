"""llama.cpp as an engine under test: `python -m duomem.compile.export.llama_cpp`, a bench worker.

Calls the library's C API through the `llama_cpp` package, with the settings of llama-bench, so that what is timed is
the library and not Python sampling. It lives on the host side: a device has no GGUF and no llama.cpp.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from duomem.core.errors import CompileError
from duomem.device.bench.worker import serve

BATCH = 512
HOW_TO_GET_IT = (
    "the packages llama-cpp-python and gguf are missing: "
    "pip install --no-binary llama-cpp-python llama-cpp-python gguf builds them for this CPU (flags: docs/bench.md)"
)


def load_model(gguf: str) -> tuple[Any, Any]:
    """(llama.cpp's C API, silent, and the model in the file `gguf`, on the CPU). Raises CompileError."""
    try:
        import llama_cpp.llama_cpp as api  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CompileError(HOW_TO_GET_IT) from None
    except (OSError, RuntimeError) as e:
        raise CompileError(f"llama-cpp-python cannot load its library ({e}): install it again") from None
    api.llama_log_set(_quiet, None)
    api.llama_backend_init()
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    model = api.llama_model_load_from_file(gguf.encode(), params)
    if not model:
        raise CompileError(f"{gguf}: llama.cpp cannot load it: try another llama-cpp-python")
    return api, model


def fill(batch: Any, tokens: Sequence[int], position: int, sequence: int, every_output: bool) -> None:
    """Put `tokens`, which go from `position` on into `sequence`, into the batch; logits of the last or of each."""
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i] = int(token), position + i
        batch.logits[i] = every_output or i == len(tokens) - 1
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence


class LlamaCppEngine:
    """A GGUF file on llama.cpp's CPU backend (keeps `device.bench.bench_engine.BenchEngine`)."""

    def __init__(self, gguf: str, context_length: int, threads: int) -> None:
        """Load `gguf` with room for `context_length` tokens. Raises CompileError."""
        self._api, self._model = load_model(gguf)
        api = self._api
        self._vocab_size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        self._context_length, self._threads = context_length, threads
        self._context = self._new_context(every_output=False)
        self._memory = api.llama_get_memory(self._context)
        self._state = b""

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "llama.cpp",
            "llama-cpp-python": importlib.metadata.version("llama-cpp-python"),
            "built_for": self._api.llama_print_system_info().decode().strip(" |"),
        }

    def prefill(self, tokens: Sequence[int]) -> float:
        ids = _ids(tokens)
        begin = time.perf_counter()
        self._append(self._context, ids)
        seconds = time.perf_counter() - begin
        self._restore()
        return seconds

    def decode(self, tokens: Sequence[int]) -> float:
        ids = [_ids([token]) for token in tokens]
        begin = time.perf_counter()
        for one in ids:
            self._append(self._context, one)
        seconds = time.perf_counter() - begin
        self._restore()
        return seconds

    def extend(self, tokens: Sequence[int]) -> None:
        self._append(self._context, _ids(tokens))
        size = self._api.llama_state_seq_get_size(self._context, 0)
        data = (ctypes.c_uint8 * size)()
        self._api.llama_state_seq_get_data(self._context, data, size, 0)
        self._state = data

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """As `BenchEngine.logits`, of an empty base: in a context of its own, since this takes more memory."""
        api, context = self._api, self._new_context(every_output=True)
        rows = []
        try:
            for i in range(0, len(tokens), BATCH):
                piece = tokens[i : i + BATCH]
                batch = api.llama_batch_init(len(piece), 0, 1)
                fill(batch, piece, i, sequence=0, every_output=True)
                self._check(api.llama_decode(context, batch))
                api.llama_batch_free(batch)
                size = len(piece) * self._vocab_size
                found = np.ctypeslib.as_array(api.llama_get_logits(context), shape=(size,))
                rows.append(found.reshape(len(piece), -1).copy())
        finally:
            api.llama_free(context)
        return np.concatenate(rows)

    def _new_context(self, every_output: bool) -> Any:
        """A context as llama-bench makes it: its default types, flash attention where it pays, 512 a batch."""
        params = self._api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = self._context_length, BATCH, BATCH
        params.n_threads = params.n_threads_batch = self._threads
        params.swa_full = False
        if every_output:
            params.n_outputs_max_per_seq = 0
        context = self._api.llama_init_from_model(self._model, params)
        if not context:
            raise CompileError(
                f"llama.cpp: no context of {self._context_length} tokens could be had: give a smaller one"
            )
        return context

    def _append(self, context: Any, ids: ctypes.Array[Any]) -> None:
        for i in range(0, len(ids), BATCH):
            piece = (ctypes.c_int32 * min(BATCH, len(ids) - i)).from_buffer(ids, 4 * i)
            self._check(self._api.llama_decode(context, self._api.llama_batch_get_one(piece, len(piece))))
        self._api.llama_synchronize(context)

    def _check(self, status: int) -> None:
        if status:
            raise CompileError(f"llama.cpp: llama_decode failed with {status}: try another llama-cpp-python")

    def _restore(self) -> None:
        """Back to the base."""
        self._api.llama_memory_clear(self._memory, False)
        if len(self._state) and not self._api.llama_state_seq_set_data(self._context, self._state, len(self._state), 0):
            raise CompileError("llama.cpp: its saved state could not be restored: try another llama-cpp-python")


def _ids(tokens: Sequence[int]) -> ctypes.Array[Any]:
    return (ctypes.c_int32 * len(tokens))(*tokens)


def _ignore(_level: int, _text: bytes, _data: Any) -> None:
    pass


_quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_ignore)


def load(options: dict[str, Any]) -> LlamaCppEngine:
    """The engine that `options` (gguf, context_length, threads) describe."""
    return LlamaCppEngine(options["gguf"], options["context_length"], options["threads"])


if __name__ == "__main__":
    serve(load)
