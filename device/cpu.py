"""Which CPU this machine is, in the terms a compiled library depends on.

A library built for a CPU with AVX-512 dies with an illegal instruction on one without: compare first.
"""

from __future__ import annotations

import platform
from pathlib import Path

_KNOWN = frozenset(
    {
        *("sse4_2", "avx", "avx2", "fma", "f16c", "bmi2", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"),
        *("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("asimd", "asimdhp", "asimddp", "sve", "sve2", "i8mm", "bf16"),
    }
)
_CPUINFO = Path("/proc/cpuinfo")


def cpu_arch() -> str:
    """The machine's architecture as bundles spell it: "x86_64", "aarch64"."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def cpu_features() -> frozenset[str] | None:
    """Vector extensions of this CPU as Linux names them, or None where the system does not list them."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return _KNOWN & frozenset(value.split())
    return None
