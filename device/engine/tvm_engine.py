"""The engine: a bundle's compiled library on TVM's Relax VM, its weights and its paged KV cache.

Loads TVM's 3 MB runtime only; the compiler (260 MB) stays out of a device's memory.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.errors import DeviceError, UserError
from duomem.device.engine.bundle import ALL_CHUNK, Bundle, Library, read_bundle
from duomem.device.engine.gpu import software_allowed
from duomem.device.engine.session import ContextFull
from duomem.device.engine.tvm_library import LoadedLibrary, cache_size, choose_libraries, load_library
from duomem.device.engine.tvm_runtime import tvm_message

MAX_SESSIONS = 4
"""Sessions an engine has room for unless told otherwise."""
SELF_CHECK_BOUND = 0.05
"""Largest difference of a logit from the gate's record for a GPU to be trusted. Rounding makes 1e-3, a driver or a
kernel that computes something else makes more than 1."""


class TvmEngine:
    """A loaded student (keeps `device.engine.session.Engine`).

    All sessions share one pool of KV pages, with room for `max_sessions` full sessions (and the one page
    TVM adds, which a rollback into shared pages needs for a moment). The memory of a page is touched, and
    so taken, the first time the page is used.
    """

    def __init__(self, loaded: LoadedLibrary) -> None:
        """An engine on a loaded library; `load` and `open` load one."""
        self._loaded = loaded
        self._next_id = 0
        self._open_sessions = 0

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
        machine has too, that is no software rasteriser (unless the environment allows it, see device.engine.gpu)
        and that gives the logits the bundle records; each that is passed over is named in one line on the error stream.
        context_length: most tokens a session may hold, the bundle's own by default.
        max_sessions: sessions open at once. library: file of one of the bundle's libraries for that device, by
        default the best this CPU can run (`engine.library` says which). Raises DeviceError if the bundle is for
        another machine or an argument does not fit it, BundleError if it is damaged.
        """
        return cls.open(read_bundle(bundle_dir), device, context_length, max_sessions, library)

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        device: str = "auto",
        context_length: int | None = None,
        max_sessions: int = MAX_SESSIONS,
        library: str | None = None,
    ) -> TvmEngine:
        """Load a verified bundle. See `load` for the arguments."""
        candidates = choose_libraries(bundle, device, library)
        size = cache_size(bundle, context_length, max_sessions)
        software = device == "vulkan" or software_allowed()
        for i, chosen in enumerate(candidates, 1):
            try:
                return cls._trusted(load_library(bundle, chosen, size, software), device)
            except UserError as e:
                if i == len(candidates):
                    raise
                print(f"{e}; going on with {candidates[i].device}", file=sys.stderr)
        raise AssertionError("a bundle has at least one library to try")

    @classmethod
    def _trusted(cls, loaded: LoadedLibrary, asked: str) -> TvmEngine:
        """The engine on `loaded`; a GPU that was not asked for by name has to pass the self-check."""
        engine = cls(loaded)
        if asked == "auto" and loaded.library.device != "cpu":
            engine._check_itself()
        return engine

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
            raise DeviceError(f"{where}: the device fails ({tvm_message(e)}): update its driver") from None
        largest = float(np.abs(logits[check["ids"]] - np.array(check["logits"], np.float32)).max(initial=0.0))
        if not largest < SELF_CHECK_BOUND:
            raise DeviceError(
                f"{where}: logits differ by {largest:.2g} from those recorded when it was compiled, the bound is "
                f"{SELF_CHECK_BOUND:g}: the driver computes something else"
            )

    @property
    def bundle(self) -> Bundle:
        return self._loaded.bundle

    @property
    def library(self) -> Library:
        """The one of the bundle's libraries that it runs."""
        return self._loaded.library

    @property
    def device(self) -> Any:
        """TVM's device that it runs on."""
        return self._loaded.device

    @property
    def vocab_size(self) -> int:
        return self.bundle.vocab_size

    @property
    def context_length(self) -> int:
        """Most tokens one session may hold."""
        return self._loaded.size.context_length

    @property
    def free_pages(self) -> int:
        """KV pages no session holds."""
        return int(self._loaded.free_pages(self._loaded.cache))

    def session(self) -> TvmSession:
        """A new, empty session. Raises DeviceError when `max_sessions` are open."""
        sequence = self._reserve()
        with self._reported():
            self._loaded.kv["add_sequence"](self._loaded.cache, sequence)
        return TvmSession(self, sequence, 0)

    def _reserve(self) -> int:
        if self._open_sessions >= self._loaded.size.sessions:
            raise DeviceError(
                f"all {self._loaded.size.sessions} sessions are open: close one, or load with a larger max_sessions"
            )
        self._open_sessions += 1
        self._next_id += 1
        return self._next_id

    def _fork(self, parent: TvmSession) -> TvmSession:
        if not parent.length:
            return self.session()
        sequence = self._reserve()
        with self._reported():
            self._loaded.kv["fork_sequence"](self._loaded.cache, parent.sequence, sequence, -1)
        return TvmSession(self, sequence, parent.length)

    def _rollback(self, sequence: int, n: int) -> None:
        with self._reported():
            self._loaded.kv["popn"](self._loaded.cache, sequence, n)

    def _remove(self, sequence: int) -> None:
        with self._reported():
            self._loaded.kv["remove_sequence"](self._loaded.cache, sequence)
        self._open_sessions -= 1

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """What a GPU raises, lost or out of memory in the middle of a game, as a DeviceError."""
        try:
            yield
        except (RuntimeError, MemoryError) as e:
            if self.library.device == "cpu":
                raise
            raise DeviceError(
                f"device {self.library.device}: fails ({tvm_message(e)}): start again, or with --device cpu"
            ) from None

    def _forward(self, function: str, sequence: int, tokens: np.ndarray) -> np.ndarray:
        """Run `function` over int32 tokens [s]; float32 logits [rows, vocab], a copy of their own."""
        loaded = self._loaded
        with self._reported():
            loaded.kv["begin_forward"](loaded.cache, loaded.shape([sequence]), loaded.shape([len(tokens)]))
            try:
                given = loaded.tensor(tokens[None], loaded.device)
                logits, _ = loaded.functions[function](given, loaded.cache, loaded.params)
                result = logits.numpy()[0]
            except BaseException:
                loaded.kv["end_forward"](loaded.cache)
                self._rollback(sequence, len(tokens))
                raise
            loaded.kv["end_forward"](loaded.cache)
            return result

    def _check_tokens(self, tokens: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
        array = np.asarray(tokens)
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
            raise ValueError("tokens: a non-empty sequence of integers is needed")
        if array.min() < 0 or array.max() >= self.vocab_size:
            raise ValueError(f"tokens: an id is outside 0..{self.vocab_size - 1}")
        if length + array.size > self.context_length:
            raise ContextFull(
                f"{length} tokens and {array.size} more exceed the context of {self.context_length}: "
                "end the episode, or load with a larger context_length"
            )
        return np.ascontiguousarray(array, np.int32)


class TvmSession:
    """A token sequence in an engine's KV cache (keeps `device.engine.session.Session`).

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
