"""How much memory this process may still take: what is free, and what control groups and ulimit allow of it.

Read from the system's own files; what a system does not tell is None.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_NO_LIMIT = 1 << 60
"""Limits above this mean none: cgroup v1 writes one as 2**63 rounded down to a page."""


@dataclass(frozen=True)
class Limit:
    """Bytes this process may still take, and what sets them."""

    bytes: int
    name: str


def available_memory(root: Path = Path("/")) -> Limit | None:
    """The tightest of free memory, control-group limits and ulimit -v; None where the system tells none.

    root: where /proc and /sys are looked for. What the kernel gives back under pressure counts as free.
    """
    limits = [*_free_memory(root), *_cgroup_limits(root), *_address_space(root)]
    return min(limits, key=lambda limit: limit.bytes, default=None)


def all_memory() -> int | None:
    """Bytes of memory this machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _read(path: Path) -> str:
    """A file of /proc or /sys, empty where it cannot be read."""
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _fields(text: str) -> dict[str, int]:
    """`name value` or `name: value kB` lines; values in the unit they are written in."""
    found = {}
    for line in text.splitlines():
        parts = line.replace(":", " ").split()
        if len(parts) >= 2 and parts[1].isdecimal():
            found[parts[0]] = int(parts[1])
    return found


def _free_memory(root: Path) -> list[Limit]:
    fields = _fields(_read(root / "proc/meminfo"))
    if "MemAvailable" in fields:
        return [Limit(fields["MemAvailable"] << 10, "free memory")]
    if "MemFree" in fields:
        return [Limit((fields["MemFree"] + fields.get("Cached", 0)) << 10, "free memory")]
    total = all_memory()
    return [Limit(total, "all of its memory")] if total else []


def _cgroup_limits(root: Path) -> list[Limit]:
    """A limit for every control group above this process that has one, version 2 and version 1."""
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = Path(path.strip("/"))
        for folder in dict.fromkeys((group, *group.parents)):  # in a container only the last may be there
            if ".." not in folder.parts:
                limits += _group_limit(top / folder, f"control group /{folder.as_posix().strip('.')}", *names)
    return limits


def _group_limit(folder: Path, name: str, maximum: str, used: str, reclaimable: str) -> list[Limit]:
    limit, usage = _read(folder / maximum).strip(), _read(folder / used).strip()
    if not limit.isdecimal() or not usage.isdecimal() or int(limit) > _NO_LIMIT:
        return []
    cache = _fields(_read(folder / "memory.stat")).get(reclaimable, 0)
    return [Limit(max(0, int(limit) - int(usage) + cache), name)]


def _address_space(root: Path) -> list[Limit]:
    try:
        import resource
    except ImportError:  # Windows has none
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return []
    used = _fields(_read(root / "proc/self/status")).get("VmSize", 0) << 10
    return [Limit(max(0, soft - used), "ulimit -v")]
