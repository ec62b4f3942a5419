"""Whether a bundle runs on this machine: what its installer and `duomem deploy` ask before it is used."""

from __future__ import annotations

import sys
from pathlib import Path

from duomem.core.cpu import cpu_arch, cpu_features
from duomem.core.errors import DeviceError
from duomem.core.process import run_command, said_lines
from duomem.device.engine.bundle import read_bundle
from duomem.device.engine.preflight import available_memory, check_memory, memory_need

_LOAD_TIMEOUT = 240.0


def check_bundle(folder: Path) -> str:
    """Whether the bundle in `folder` runs here, in a few words: verified, enough memory, loaded, a token decoded.

    Loading is tried in a process of its own. A GPU that the bundle has a library for and that is passed over is named
    with the reason. Raises DeviceError saying what is wrong.
    """
    bundle = read_bundle(folder)
    if bundle.arch != cpu_arch():
        raise DeviceError(f"{folder}: is compiled for {bundle.arch}, this is {cpu_arch()}: compile it for this")
    bundle.library_for(cpu_features(), bundle.devices[-1])
    need, limit, sessions = memory_need(bundle), available_memory(), 4
    check_memory(need, limit, bundle, bundle.context_length, sessions)
    done = run_command([sys.executable, "-c", _TRY_BUNDLE, str(bundle.folder.resolve()), bundle.device], _LOAD_TIMEOUT)
    if done.status:
        raise DeviceError(f"{folder}: does not load here: {done.last_line}")
    *passed_over, loaded = said_lines(done.output)
    have = f" of {limit.bytes / 1e6:.0f} MB" if limit else ""
    others = f" ({'; '.join(passed_over)})" if passed_over else ""
    return f"verified, needs {need.total / 1e6:.0f} MB{have}, {loaded}{others}"


_TRY_BUNDLE = """
import contextlib, io, sys, time
from pathlib import Path
import numpy as np
from duomem.core.errors import DeviceError, UserError
from duomem.device.engine.tvm_engine import TvmEngine
try:
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()) as passed_over:
        engine = TvmEngine.load(Path(sys.argv[1]), sys.argv[2], max_sessions=1)
    session = engine.session()
    loaded = time.perf_counter()
    logits = [session.prefill([1, 2, 3, 4]), session.decode(5)]
    first = time.perf_counter()
    logits.append(session.decode(6))
    if not all(np.isfinite(row).all() for row in logits):
        sys.exit("its logits are not finite")
    took = f"loads in {loaded - start:.1f} s, decodes a token in {(time.perf_counter() - first) * 1e3:.0f} ms"
    device = engine.library.device
    unknown = device != "cpu" and engine.device.total_global_memory is None
    print(passed_over.getvalue(), end="")
    print(f"{took} on {device}" + (", which does not tell its own memory" if unknown else ""))
except UserError as e:
    sys.exit(str(e))
"""
