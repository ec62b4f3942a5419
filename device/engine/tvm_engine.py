"""The engine: a bundle's compiled library on TVM's Relax VM, its weights and its paged KV cache.

Loads TVM's 3 MB runtime only; the compiler (260 MB) stays out of a device's memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.cpu import cpu_arch, cpu_features, usable_cores
from duomem.core.errors import DeviceError, UserError
from duomem.device.engine import cuda
from duomem.device.engine.bundle import ALL_CHUNK, Bundle, Library, read_bundle
from duomem.device.engine.gpu import choose_gpu, software_allowed
from duomem.device.engine.preflight import available_memory, check_memory, gpu_memory, memory_need
from duomem.device.engine.session import ContextFull
from duomem.device.engine.weights import library_weight, read_tensor_cache

MAX_SESSIONS = 4
"""Sessions an engine has room for unless told otherwise."""
SELF_CHECK_BOUND = 0.05
"""Largest difference of a logit from the gate's record for a GPU to be trusted. Rounding makes 1e-3, a driver or a
kernel that computes something else makes more than 1."""

RUNTIME_DEVICES = {
    "cuda": cuda.NEEDS,
    "metal": "a Mac with Apple silicon",
}
"""Devices that TVM's own runtime knows, and what each needs."""


class TvmEngine:
    """A loaded student (keeps `device.session.Engine`).

    All sessions share one pool of KV pages, with room for `max_sessions` full sessions (and the one page
    TVM adds, which a rollback into shared pages needs for a moment). The memory of a page is touched, and
    so taken, the first time the page is used.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        context_length: int | None = None,
        max_sessions: int = MAX_SESSIONS,
        library: str | None = None,
    ) -> None:
        """Load a library and the weights of a verified bundle. See `load` for the arguments."""
        candidates = _choose_libraries(bundle, device, library)
        if context_length is None:
            context_length = bundle.context_length
        if not 1 <= context_length <= bundle.context_length:
            raise DeviceError(
                f"context length {context_length} is not within this bundle's 1..{bundle.context_length}: "
                "give less, or compile with a larger --context"
            )
        if max_sessions < 1:
            raise DeviceError(f"max_sessions is {max_sessions}: give at least 1")
        need = memory_need(bundle, context_length, max_sessions)
        check_memory(need, available_memory(), bundle, context_length, max_sessions)
        self.bundle = bundle
        self._context_length = context_length
        self._max_sessions = max_sessions
        self._next_id = 0
        tvm = _import_tvm_runtime()
        self._shape = tvm.runtime.ShapeTuple
        self._tensor = tvm.runtime.tensor
        self._kv = {
            name: tvm.get_global_func(f"vm.builtin.kv_state_{name}")
            for name in (
                "add_sequence",
                "remove_sequence",
                "fork_sequence",
                "popn",
                "begin_forward",
                "end_forward",
            )
        }
        self._count_free = tvm.get_global_func("vm.builtin.attention_kv_cache_get_num_available_pages")
        self._page_size = bundle.manifest["context"]["page_size"]
        for i, chosen in enumerate(candidates, 1):
            try:
                self._open(tvm, chosen, device)
                break
            except UserError as e:
                if i == len(candidates):
                    raise
                print(f"{e}; going on with {candidates[i].device}", file=sys.stderr)

    @classmethod
    def load(
        cls,
        bundle_dir: Path,
        device: str = "auto",
        context_length: int | None = None,
        max_sessions: int = MAX_SESSIONS,
        library: str | None = None,
    ) -> TvmEngine:
        """Verify the bundle in `bundle_dir` and load it.

        device: "cpu", "vulkan", "cuda", "metal", or "auto": the first the bundle has a library for that this
        machine has too, that is no software rasteriser (unless the environment allows it, see device.adapter)
        and that gives the logits the bundle records; each that is passed over is named in one line on the error stream.
        context_length: most tokens a session may hold, the bundle's own by default.
        max_sessions: sessions open at once. library: file of one of the bundle's libraries for that device, by
        default the best this CPU can run (`engine.library` says which). Raises DeviceError if the bundle is damaged,
        for another machine, or an argument does not fit it.
        """
        return cls(read_bundle(bundle_dir), device, context_length, max_sessions, library)

    def _open(self, tvm: Any, library: Library, asked: str) -> None:
        """Load `library`, the weights and an empty cache on its device. asked: the device this engine was asked for."""
        where = self.bundle.folder / library.file
        if library.device == "cpu":
            self._device = tvm.cpu()
        elif library.device == "vulkan":
            gpu = choose_gpu(tvm, software=asked == "vulkan" or software_allowed())
            self._device = tvm.device("webgpu", gpu.index)
        elif library.device in RUNTIME_DEVICES:
            self._device = tvm.device(library.device)
            if not self._device.exist:
                lacking = cuda.lacking() if library.device == "cuda" else ""
                raise DeviceError(
                    f"device {library.device}: none here: it needs {RUNTIME_DEVICES[library.device]}{lacking}"
                )
        else:
            raise DeviceError(
                f"{where}: is for the device {library.device}, which this duomem does not know: update it"
            )
        if library.device != "cpu":
            self._check_gpu_memory()
        try:
            module = tvm.runtime.load_module(str(where))
            if library.device == "vulkan":
                tvm.get_global_func("duomem_vulkan.prepare")(module, gpu.index)
            self._vm = tvm.runtime.vm.VirtualMachine(module, self._device)
            metadata = json.loads(self._vm["_metadata"]())
        except (RuntimeError, OSError, AttributeError, ValueError) as e:
            raise DeviceError(f"{where}: cannot be loaded ({_last_line(e)}): compile the bundle again") from None
        try:
            self._params = tvm.runtime.convert(self._load_params(metadata))
        except (RuntimeError, MemoryError) as e:
            raise DeviceError(f"{where}: the device takes no weights ({_last_line(e)}): use another device") from None
        self._functions = {name: self._vm[name] for name in ("prefill", "prefill_all", "decode")}
        self.library = library
        self._cache = self._create_cache()
        self._open_sessions = 0
        if asked == "auto" and library.device != "cpu":
            self._check_itself()

    def _check_gpu_memory(self) -> None:
        need = memory_need(self.bundle, self._context_length, self._max_sessions)
        limit = gpu_memory(self._device)
        check_memory(replace(need, runtime=0), limit, self.bundle, self._context_length, self._max_sessions)

    def _check_itself(self) -> None:
        """Compare logits with those the gate recorded. Raises DeviceError if they differ, or cannot be computed."""
        where = f"{self.bundle.folder / self.library.file}: self-check"
        check = self.bundle.manifest["gate"].get("self_check")
        if check is None:
            raise DeviceError(f"{where}: bundle.json records no logits to compare with: compile the bundle again")
        tokens = check["tokens"]
        try:
            session = self.session()
            session.prefill(tokens[: len(tokens) // 2])
            session.prefill(tokens[len(tokens) // 2 : -1])
            logits = session.decode(tokens[-1])
            session.close()
        except (RuntimeError, MemoryError, ValueError, ContextFull) as e:
            raise DeviceError(f"{where}: the device fails ({_last_line(e)}): update its driver") from None
        largest = float(np.abs(logits[check["ids"]] - np.array(check["logits"], np.float32)).max(initial=0.0))
        if not largest < SELF_CHECK_BOUND:
            raise DeviceError(
                f"{where}: logits differ by {largest:.2g} from those recorded when it was compiled, the bound is "
                f"{SELF_CHECK_BOUND:g}: the driver computes something else"
            )

    @property
    def device(self) -> Any:
        """TVM's device that it runs on."""
        return self._device

    @property
    def vocab_size(self) -> int:
        return self.bundle.vocab_size

    @property
    def context_length(self) -> int:
        """Most tokens one session may hold."""
        return self._context_length

    @property
    def free_pages(self) -> int:
        """KV pages no session holds."""
        return int(self._count_free(self._cache))

    def session(self) -> TvmSession:
        """A new, empty session. Raises DeviceError when `max_sessions` are open."""
        sequence = self._reserve()
        with self._reported():
            self._kv["add_sequence"](self._cache, sequence)
        return TvmSession(self, sequence, 0)

    def _reserve(self) -> int:
        if self._open_sessions >= self._max_sessions:
            raise DeviceError(
                f"all {self._max_sessions} sessions are open: close one, or load with a larger max_sessions"
            )
        self._open_sessions += 1
        self._next_id += 1
        return self._next_id

    def _fork(self, parent: TvmSession) -> TvmSession:
        if not parent.length:
            return self.session()
        sequence = self._reserve()
        with self._reported():
            self._kv["fork_sequence"](self._cache, parent.sequence, sequence, -1)
        return TvmSession(self, sequence, parent.length)

    def _rollback(self, sequence: int, n: int) -> None:
        with self._reported():
            self._kv["popn"](self._cache, sequence, n)

    def _remove(self, sequence: int) -> None:
        with self._reported():
            self._kv["remove_sequence"](self._cache, sequence)
        self._open_sessions -= 1

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """What a GPU raises, lost or out of memory in the middle of a game, as a UserError."""
        try:
            yield
        except (RuntimeError, MemoryError) as e:
            if self.library.device == "cpu":
                raise
            raise DeviceError(
                f"device {self.library.device}: fails ({_last_line(e)}): start again, or with --device cpu"
            ) from None

    def _forward(self, function: str, sequence: int, tokens: np.ndarray) -> np.ndarray:
        """Run `function` over int32 tokens [s]; float32 logits [rows, vocab], a copy of their own."""
        with self._reported():
            self._kv["begin_forward"](self._cache, self._shape([sequence]), self._shape([len(tokens)]))
            try:
                logits, _ = self._functions[function](
                    self._tensor(tokens[None], self._device), self._cache, self._params
                )
                result = logits.numpy()[0]
            except BaseException:
                self._kv["end_forward"](self._cache)
                self._rollback(sequence, len(tokens))
                raise
            self._kv["end_forward"](self._cache)
            return result

    def _create_cache(self) -> Any:
        pages = -(-self._context_length // self._page_size) * self._max_sessions
        sizes = (self._max_sessions, pages * self._page_size, self.bundle.prefill_chunk, self._page_size)
        try:
            return self._vm["create_kv_cache"](*(self._shape([size]) for size in sizes))
        except (RuntimeError, MemoryError) as e:
            megabytes = sizes[1] * self.bundle.manifest["context"]["kv_bytes_per_token"] / 1e6
            raise DeviceError(
                f"a KV cache of {self._max_sessions} sessions of {self._context_length} tokens needs "
                f"{megabytes:.0f} MB, which could not be had ({_last_line(e)}): give a smaller context_length"
            ) from None

    def _check_tokens(self, tokens: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
        array = np.asarray(tokens)
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
            raise ValueError("tokens: a non-empty sequence of integers is needed")
        if array.min() < 0 or array.max() >= self.vocab_size:
            raise ValueError(f"tokens: an id is outside 0..{self.vocab_size - 1}")
        if length + array.size > self._context_length:
            raise ContextFull(
                f"{length} tokens and {array.size} more exceed the context of {self._context_length}: "
                "end the episode, or load with a larger context_length"
            )
        return np.ascontiguousarray(array, np.int32)

    def _load_params(self, metadata: Any) -> list[Any]:
        records = read_tensor_cache(self.bundle.model_dir)
        params = []
        for entry in metadata["params"]:
            for name in entry["stored"]:
                if name not in records:
                    raise DeviceError(f"{self.bundle.model_dir}: holds no {name}: compile the bundle again")
            stored = [records[name] for name in entry["stored"]]
            array = library_weight(
                stored,
                tuple(entry["shape"]),
                entry["dtype"],
                self.bundle.quantization,
                metadata.get("transposed", False),
            )
            params.append(self._tensor(array, self._device))
        return params


class TvmSession:
    """A token sequence in an engine's KV cache (keeps `device.session.Session`).

    Every method but `close` raises ValueError once the session is closed.
    """

    def __init__(self, engine: TvmEngine, sequence: int, length: int) -> None:
        self._engine, self._sequence, self._length = engine, sequence, length
        self._open = True

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return self._length

    @property
    def sequence(self) -> int:
        """The KV cache's id of this sequence."""
        return self._sequence

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        """Append tokens, in chunks the library takes; float32 logits [vocab] after the last.

        Raises ContextFull, and appends nothing, if they do not fit; ValueError on a bad token id.
        """
        return self._append(tokens, "prefill", self._engine.bundle.prefill_chunk)[-1]

    def prefill_all(self, tokens: Sequence[int]) -> np.ndarray:
        """Append tokens like `prefill`; float32 logits [len(tokens), vocab] after each of them."""
        return self._append(tokens, "prefill_all", min(ALL_CHUNK, self._engine.bundle.prefill_chunk))

    def decode(self, token: int) -> np.ndarray:
        """Append one token; float32 logits [vocab] after it."""
        return self._append([token], "decode", 1)[0]

    def rollback(self, n: int) -> None:
        """Forget the last n tokens; ValueError unless 0 <= n <= length."""
        self._check_open()
        if not 0 <= n <= self._length:
            raise ValueError(f"rollback of {n} tokens: the session holds {self._length}")
        if n:
            self._engine._rollback(self._sequence, n)
            self._length -= n

    def fork(self) -> TvmSession:
        """A new session that starts with this one's tokens; full pages are shared, the last is copied."""
        self._check_open()
        return self._engine._fork(self)

    def close(self) -> None:
        """Give the pages back. Closing twice is allowed."""
        if self._open:
            self._open = False
            self._engine._remove(self._sequence)
            self._length = 0

    def _append(self, tokens: Sequence[int], function: str, chunk: int) -> np.ndarray:
        self._check_open()
        array = self._engine._check_tokens(tokens, self._length)
        before, rows = self._length, []
        try:
            for i in range(0, array.size, chunk):
                piece = array[i : i + chunk]
                rows.append(self._engine._forward(function, self._sequence, piece))
                self._length += piece.size
        except BaseException:
            self.rollback(self._length - before)
            raise
        return rows[-1] if function != "prefill_all" else np.concatenate(rows)

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("the session is closed")


def _last_line(error: BaseException) -> str:
    """What a TVM error says, without the C++ frames above it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _choose_libraries(bundle: Bundle, device: str, file: str | None) -> list[Library]:
    """The libraries to try, in this order: one, or with device "auto" the best of each device, the CPU's last.

    Raises DeviceError if this CPU can run none of those.
    """
    where = bundle.folder
    if device not in (*bundle.devices, "auto"):
        devices = " and ".join(bundle.devices)
        raise DeviceError(f"{where}: is compiled for {devices}, not for {device}: ask for {devices}")
    if bundle.arch != cpu_arch():
        raise DeviceError(f"{where}: is compiled for {bundle.arch}, this is {cpu_arch()}: compile it for this")
    features = cpu_features()
    devices_tried = bundle.devices if device == "auto" else (device,)
    runnable = [library for name in devices_tried for library in bundle.runnable(features, name)]
    if file is None:
        best = {library.device: library for library in reversed(runnable)}
        chosen = [best[name] for name in devices_tried if name in best]
        return chosen or [bundle.library_for(features, devices_tried[-1])]
    for library in runnable:
        if library.file == file:
            return [library]
    names = ", ".join(library.file for library in runnable) or "none"
    raise DeviceError(f"{where}: {file} is no library of it that this CPU can run: those are {names}")


def _import_tvm_runtime() -> Any:
    """TVM, without its compiler and without torch unless this process has already loaded them.

    tvm_ffi imports torch wherever it is installed: 2 s and 150 MB on a host that only wants to play.
    """
    if "tvm" not in sys.modules:
        os.environ["TVM_USE_RUNTIME_LIB"] = "1"
        os.environ.setdefault("TVM_NUM_THREADS", str(usable_cores()))  # it counts cores this process may not run on
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        import tvm
        import tvm.runtime.vm
    finally:
        if hide:
            del sys.modules["torch"]
    return tvm
