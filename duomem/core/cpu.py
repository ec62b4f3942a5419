"""Which CPU this machine is: its name, its architecture, and the vector extensions a compiled library depends on.

A library built for a CPU with AVX-512 dies with an illegal instruction on one without: compare first.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

_KNOWN = frozenset(
    {
        *("sse4_1", "sse4_2", "popcnt", "avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"),
        *("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd", "avx512_vnni", "avx512_bf16"),
        *("avx512_fp16", "avx512ifma", "avx512vbmi", "avx512_vbmi2", "avx512_bitalg", "avx512_vpopcntdq"),
        *("avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "gfni", "vaes", "vpclmulqdq", "sha_ni"),
    }
)
_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/sys/firmware/devicetree/base/model")

# Bits of the words Linux hands every AArch64 process (uapi/asm/hwcap.h), under their /proc/cpuinfo names.
_AT_HWCAP, _AT_HWCAP2 = 16, 26
_HWCAP = {"asimd": 1, "atomics": 8, "fphp": 9, "asimdhp": 10, "asimdrdm": 12, "asimddp": 20, "sve": 22}
_HWCAP2 = {"sve2": 1, "i8mm": 13, "bf16": 14}

# x86-64 Linux gives AMX's 8 kB of tile state only to a process that asks (uapi/asm/prctl.h).
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_arch() -> str:
    """The machine's architecture as bundles spell it: "x86_64", "aarch64"."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def cpu_name() -> str:
    """The processor as the system names it: by its name, by ARM's implementer and part numbers, or by the board's."""
    fields = {}
    for line in _text(_CPUINFO).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if fields.get("CPU part"):
        part = f"implementer {fields.get('CPU implementer', '?')} part {fields['CPU part']}"
    else:
        part = fields.get("cpu model") or fields.get("Hardware")
    return fields.get("model name") or part or board_name() or platform.processor() or platform.machine()


def board_name() -> str | None:
    """The board, such as "Raspberry Pi 5 Model B Rev 1.0"; None where the system does not name one."""
    return _text(_BOARD).strip("\0\n ") or None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def cpu_features() -> frozenset[str] | None:
    """Vector extensions this process may use, as Linux names them; None where the system does not list them.

    Asks Linux for AMX where the CPU has it: what is returned has been granted to the whole process.
    """
    if not sys.platform.startswith("linux"):
        return None
    if cpu_arch() == "aarch64":
        return _aarch64_features()
    found = _x86_features()
    if found is not None and "amx_tile" in found and not _request_amx():
        found = frozenset(name for name in found if not name.startswith("amx_"))
    return found


def _aarch64_features() -> frozenset[str] | None:
    """From the auxiliary vector, which an emulator fills in too, where its /proc/cpuinfo is the host's."""
    try:
        read = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):
        return None
    read.argtypes, read.restype = [ctypes.c_ulong], ctypes.c_ulong
    words = ((int(read(_AT_HWCAP)), _HWCAP), (int(read(_AT_HWCAP2)), _HWCAP2))
    return frozenset(name for word, bits in words for name, bit in bits.items() if word >> bit & 1)


def _x86_features() -> frozenset[str] | None:
    for line in _text(_CPUINFO).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return _KNOWN & frozenset(value.split())
    return None


def _request_amx() -> bool:
    """Whether Linux grants this process, and the threads it starts from now on, AMX's tile registers."""
    try:
        call = ctypes.CDLL(None).syscall
    except (OSError, AttributeError):
        return False
    call.argtypes, call.restype = [ctypes.c_long] * 3, ctypes.c_long
    return call(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0
