"""The Engine contract: token sequences over one compiled student, each with its own KV cache.

The agent and the scorer know only this; the TVM engine and the tests' fake engine both keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from duomem.core.errors import DeviceError


class ContextFull(DeviceError):
    """The tokens do not fit: the session holds as many as `context_length` or the page pool allows.

    The session is as it was before the call. The agent ends the episode on it.
    """


class Session(Protocol):
    """A growing token sequence whose keys and values are cached."""

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        ...

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        """Append tokens (at least one); returns float32 logits [vocab] after the last of them."""
        ...

    def decode(self, token: int) -> np.ndarray:
        """Append one token; returns float32 logits [vocab] after it."""
        ...

    def rollback(self, n: int) -> None:
        """Forget the last n tokens; 0 <= n <= length."""
        ...

    def fork(self) -> Session:
        """A new session that starts with this one's tokens (shared pages, copied on write)."""
        ...

    def close(self) -> None:
        """Give the pages back. Closing twice is allowed."""
        ...


class Engine(Protocol):
    """A loaded student."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def context_length(self) -> int:
        """Most tokens one session may hold."""
        ...

    def session(self) -> Session:
        """A new, empty session. Raises DeviceError when all are in use."""
        ...
