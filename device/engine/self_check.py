"""Whether a bundle runs on this machine: what its installer and `duomem deploy` ask before it is used."""

from __future__ import annotations

from pathlib import Path

from duomem.core.cpu import cpu_arch, cpu_features
from duomem.core.errors import DeviceError
from duomem.core.memory import available_memory
from duomem.core.process import python_module, run, said_lines
from duomem.device.engine.bundle import read_bundle
from duomem.device.engine.preflight import check_memory, memory_need

_TRY = "duomem.device.engine.try_bundle"
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
    done = run(python_module(_TRY, str(bundle.folder.resolve()), bundle.device), _LOAD_TIMEOUT)
    if done.status:
        raise DeviceError(f"{folder}: does not load here: {done.last_line}")
    *passed_over, loaded = said_lines(done.output)
    have = f" of {limit.bytes / 1e6:.0f} MB" if limit else ""
    others = f" ({'; '.join(passed_over)})" if passed_over else ""
    return f"verified, needs {need.total / 1e6:.0f} MB{have}, {loaded}{others}"
