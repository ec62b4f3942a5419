"""Large pages: asked for where Linux gives them on request, and never in the way."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import pytest

from duomem.device.engine import huge_pages
from duomem.device.engine.huge_pages import use_huge_pages

BLOCK = 16 << 20


def large_kib() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.findall(r"AnonHugePages:\s+(\d+) kB", text)[0])


@pytest.mark.skipif(
    not huge_pages._SWITCH.is_file() or "[madvise]" not in huge_pages._SWITCH.read_text(),
    reason="this system gives no large pages on request",
)
def test_blocks_get_large_pages_and_keep_what_they_hold() -> None:
    with mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        before = large_kib()
        block[:] = b"x" * BLOCK
        use_huge_pages(touched=True)
        assert large_kib() - before >= BLOCK // 1024 // 2
        assert block[:] == b"x" * BLOCK


@pytest.mark.parametrize("text", ["always madvise [never]\n", "[always] madvise never\n", "", None])
def test_elsewhere_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    switch = tmp_path / "enabled"
    if text is not None:
        switch.write_text(text)
    monkeypatch.setattr(huge_pages, "_SWITCH", switch)
    monkeypatch.setattr(huge_pages, "_large_blocks", lambda: pytest.fail("asked for nothing"))
    use_huge_pages(touched=True)


def test_only_large_private_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f0000100000-7f0000900000 rw-p 00000000 00:00 0 \n"
        "7f0001000000-7f0001800000 r--p 00000000 00:00 0 \n"
        "7f0002000000-7f0002800000 rw-s 00000000 00:01 9 /dev/zero\n"
        "7f0003000000-7f0003800000 rw-p 00000000 fe:01 77 /lib/libc.so.6\n"
        "7f0004000000-7f0004300000 rw-p 00000000 00:00 0 \n"
        "7f0005000000-7f0005800000 rw-p 00000000 00:00 0                          [stack]\n"
        "55d000000000-55d000800000 rw-p 00000000 00:00 0                          [heap]\n"
    )
    monkeypatch.setattr(huge_pages, "_MAPS", maps)
    assert list(huge_pages._large_blocks()) == [(0x7F0000200000, 6 << 20), (0x55D000000000, 8 << 20)]
