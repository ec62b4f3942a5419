"""What a process may still take of a machine's memory: free memory, control groups and ulimit."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from duomem.core import memory
from duomem.core.memory import Limit, available_memory

MEBI = 1 << 20


def _system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMORY = {"proc/meminfo": "MemTotal: 4000000 kB\nMemFree: 100 kB\nMemAvailable:    3000000 kB\n"}


def test_free_memory(tmp_path: Path) -> None:
    assert available_memory(_system(tmp_path, MEMORY)) == Limit(3000000 << 10, "free memory")
    old = {"proc/meminfo": "MemTotal: 4000000 kB\nMemFree: 100 kB\nCached: 50 kB\n"}
    assert available_memory(_system(tmp_path, old)) == Limit(150 << 10, "free memory")


def test_the_tightest_control_group_of_version_2(tmp_path: Path) -> None:
    root = _system(
        tmp_path,
        {
            **MEMORY,
            "proc/self/cgroup": "0::/user/agent\n",
            "sys/fs/cgroup/user/agent/memory.max": "max\n",
            "sys/fs/cgroup/user/agent/memory.current": "1\n",
            "sys/fs/cgroup/user/memory.max": "500000000\n",
            "sys/fs/cgroup/user/memory.current": "450000000\n",
            "sys/fs/cgroup/user/memory.stat": "anon 1\nfile 9\ninactive_file 40000000\n",
        },
    )
    assert available_memory(root) == Limit(90_000_000, "control group /user")


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    """In a container: its own group is mounted at the top, whatever the path says."""
    root = _system(
        tmp_path,
        {
            **MEMORY,
            "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1200000000\n",
        },
    )
    assert available_memory(root) == Limit(0, "control group /")
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert available_memory(root) == Limit(3000000 << 10, "free memory")


def test_odd_files_are_passed_over(tmp_path: Path) -> None:
    root = _system(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: lots\n",
            "sys/fs/cgroup/memory.max": "-1",
            "proc/self/cgroup": "0::/../../x\nnonsense\n:::\n",
        },
    )
    (root / "sys/fs/cgroup/memory.current").write_bytes(b"\xff\xfe")
    limit = available_memory(root)
    assert limit is not None and limit.name == "all of its memory"


def test_ulimit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 30, resource.RLIM_INFINITY))
    root = _system(tmp_path, {**MEMORY, "proc/self/status": "VmPeak: 9 kB\nVmSize:\t  1024 kB\n"})
    assert available_memory(root) == Limit((1 << 30) - MEBI, "ulimit -v")


def test_this_machine_has_some() -> None:
    limit = available_memory()
    assert limit is not None and 0 < limit.bytes < memory._NO_LIMIT
