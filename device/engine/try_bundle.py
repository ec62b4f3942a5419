"""Loads a bundle and decodes: `python -m duomem.device.engine.try_bundle FOLDER DEVICE`, apart because it may crash.

Prints a line for each GPU that was passed over, then one that says how it went. Ends with the reason if it fails.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from pathlib import Path

import numpy as np

from duomem.core.errors import UserError
from duomem.device.engine.tvm_engine import TvmEngine


def try_bundle(folder: Path, device: str) -> str:
    """How long the bundle in `folder` takes to load and to decode a token, and on which device, in words.

    Raises UserError if it does not load, ValueError if its logits are not finite.
    """
    start = time.perf_counter()
    engine = TvmEngine.load(folder, device, max_sessions=1)
    session = engine.session()
    loaded = time.perf_counter()
    logits = [session.prefill([1, 2, 3, 4]), session.decode(5)]
    first = time.perf_counter()
    logits.append(session.decode(6))
    seconds = time.perf_counter() - first
    if not all(np.isfinite(row).all() for row in logits):
        raise ValueError("its logits are not finite")
    unknown = engine.library.device != "cpu" and engine.device.total_global_memory is None
    return f"loads in {loaded - start:.1f} s, decodes a token in {seconds * 1e3:.0f} ms on {engine.library.device}" + (
        ", which does not tell its own memory" if unknown else ""
    )


def main(folder: Path, device: str) -> None:
    """Try it and print what came of it."""
    try:
        with contextlib.redirect_stderr(io.StringIO()) as passed_over:
            took = try_bundle(folder, device)
    except (UserError, ValueError) as e:
        sys.exit(str(e))
    print(passed_over.getvalue(), end="")
    print(took)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
