"""TVM's runtime without its compiler, and what its errors say."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from duomem.core.cpu import usable_cores

RUNTIME_ONLY = "TVM_USE_RUNTIME_LIB"
"""Environment variable that, set to 1, makes `import tvm` load the 3 MB runtime and not the 260 MB compiler."""
_THREADS = "TVM_NUM_THREADS"


def import_tvm_runtime() -> Any:
    """TVM, without its compiler and without torch unless this process has already loaded them.

    tvm_ffi imports torch wherever it is installed: 2 s and 150 MB on a host that only wants to play.
    """
    if "tvm" not in sys.modules:
        os.environ.setdefault(_THREADS, str(usable_cores()))  # TVM counts cores this process may not run on
    with _runtime_only(), _without("torch"):
        import tvm
        import tvm.runtime.vm
    return tvm


@contextlib.contextmanager
def _runtime_only() -> Iterator[None]:
    """Within it, RUNTIME_ONLY is set. Afterwards it is as before: a child process may need the compiler."""
    before = os.environ.get(RUNTIME_ONLY)
    os.environ[RUNTIME_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[RUNTIME_ONLY]
        else:
            os.environ[RUNTIME_ONLY] = before


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Within it, importing `module` fails, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def tvm_message(error: BaseException) -> str:
    """What a TVM error says, without the C++ frames above it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
