"""What this machine is, as far as speed goes: processor, cores, caches, memory, versions.

Read from the system's own files; what a system does not tell is None.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from duomem.core.cpu import board_name, cpu_arch, cpu_features, cpu_name, usable_cores
from duomem.core.memory import all_memory

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_STAT = Path("/proc/stat")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_PACKAGES = ("duomem", "apache-tvm", "apache-tvm-ffi", "numpy")


def machine_facts() -> dict[str, Any]:
    """JSON object: cpu, board, arch, features, cores (usable ones), caches and memory in bytes, system."""
    features = cpu_features()
    return {
        "cpu": cpu_name(),
        "board": board_name(),
        "arch": cpu_arch(),
        "features": sorted(features) if features is not None else None,
        "cores": usable_cores(),
        "caches": caches(),
        "memory_bytes": all_memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def caches() -> dict[str, int]:
    """Bytes of the first core's data caches: {"L1": 49152, ...}; empty where the system does not say."""
    found = {}
    for index in sorted(_CACHES.glob("index*")):
        size, kind, level = (_text(index / name).strip() for name in ("size", "type", "level"))
        if kind != "Instruction" and size[:-1].isdecimal() and size[-1] in _UNITS:
            found[f"L{level}"] = int(size[:-1]) * _UNITS[size[-1]]
    return found


class Others:
    """How busy other processes keep this machine, from now on: a reason to measure again."""

    def __init__(self) -> None:
        self._begin = self._seconds()

    def cores(self) -> float | None:
        """Cores' worth of processor time that went to others than this process and its ended children."""
        end = self._seconds()
        if self._begin is None or end is None:
            return None
        wall, busy, own = (b - a for a, b in zip(self._begin, end, strict=True))
        return max(0.0, (busy - own) / wall) if wall > 0 else None

    @staticmethod
    def _seconds() -> tuple[float, float, float] | None:
        """(wall time, busy time of all cores, stolen time included, this process's and its ended children's)."""
        fields = _text(_STAT).split("\n", 1)[0].split()[1:9]
        if len(fields) < 8:
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, sum(os.times()[:4])


def peak_rss() -> int:
    """Bytes of this process's largest resident set so far.

    Linux: VmHWM, since ru_maxrss also remembers the process that started this one.
    """
    for line in _text(Path("/proc/self/status")).splitlines():
        key, value = _field(line)
        if key == "VmHWM":
            return int(value.split()[0]) * 1024
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _field(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
