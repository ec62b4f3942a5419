"""A student on a GPU for long, and when the GPU goes away: memory stays flat, and a lost device is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duomem.device.engine.tvm_engine import TvmEngine

pytest.importorskip("torch", reason="the tiny bundle is compiled from a transformers model")
pytestmark = pytest.mark.vulkan
STEPS = 1000

_LOSE = """
import sys, tvm
from pathlib import Path
from duomem.core.errors import UserError
from duomem.device.engine.tvm_engine import TvmEngine

engine = TvmEngine.load(Path({bundle!r}), "vulkan")
session = engine.session()
session.prefill([1, 2, 3])
other = session.fork()
try:
    tvm.get_global_func("duomem_vulkan.lose_device")(0, {in_submission})
except RuntimeError:
    pass
for attempt in (lambda: session.decode(4), lambda: other.prefill([4, 5]), lambda: session.rollback(1), session.fork):
    try:
        attempt()
        print("nothing raised")
    except UserError as error:
        print(error)
for each in (session, other):
    each.close()
print("end")
"""


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_is_flat_over_a_thousand_steps(vulkan_bundle: Path) -> None:
    import duomem_vulkan

    engine = TvmEngine.load(vulkan_bundle, "vulkan")
    session = engine.session()
    session.prefill(list(range(40)))

    def steps(n: int) -> None:
        for i in range(n):
            if session.length == 250:
                session.rollback(200)
            if i % 100 == 0:
                child = session.fork()
                child.decode(i % 256)
                child.close()
            session.decode(i % 256)

    steps(300)
    before, memory = duomem_vulkan.statistics(), resident()
    steps(STEPS)
    after, grown = duomem_vulkan.statistics(), resident() - memory
    session.close()
    assert {name: after[name] for name in ("bytes", "buffers")} == {name: before[name] for name in ("bytes", "buffers")}
    assert after["bind_groups"] <= before["bind_groups"] + 16
    assert grown < 4e6


@pytest.mark.parametrize("in_submission", [False, True])
def test_a_device_lost_in_the_middle_of_a_game_is_one_line(
    vulkan_bundle: Path, run_python: Any, in_submission: bool
) -> None:
    result = run_python(_LOSE.format(bundle=str(vulkan_bundle), in_submission=in_submission))
    assert result.returncode == 0, result.stdout + result.stderr
    *lines, end = result.stdout.strip().splitlines()
    assert end == "end" and lines[0].startswith("device vulkan: fails (") and "device lost" in lines[0]
    assert all("device lost" in line or line == "nothing raised" for line in lines), lines
