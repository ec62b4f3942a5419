"""The AArch64 bundle, run: on qemu's CPUs, by the real aarch64 wheels. Skipped without scripts/aarch64_env.sh."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import emulator
import numpy as np
import pytest

from duomem.core.cpu import cpu_arch
from duomem.device.engine.bundle import read_bundle

PLAYER = Path(__file__).with_name("player.py")
STEPS = 3
pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(emulator.missing() is not None, reason=emulator.missing() or ""),
    pytest.mark.skipif(cpu_arch() == "aarch64", reason="this machine is AArch64 itself"),
]


@pytest.fixture(scope="module")
def here(bundle: Path, game: Path) -> dict[str, Any]:
    """What the same model, compiled for this machine, says and does. In a process that loads TVM's runtime only."""
    out = bundle.with_name("here.json")
    subprocess.run(
        [sys.executable, PLAYER, bundle.with_name("host"), game, str(STEPS), out], check=True, stdin=subprocess.DEVNULL
    )
    return json.loads(out.read_text())["libraries"][f"lib/cpu-{cpu_arch()}-native.so"]


def test_the_bundle_says_what_was_executed(bundle: Path) -> None:
    gate = read_bundle(bundle).manifest["gate"]
    assert gate["unchecked"] == [] and gate["max_abs_diff"] < gate["bound"]
    assert list(gate["proxy_libraries"]) == [f"lib/cpu-{cpu_arch()}-native.so"]
    assert set(gate["libraries"]) == {f"lib/cpu-aarch64-{name}.so" for name in emulator.CPUS}
    assert all(0 < difference < 1e-3 for difference in gate["libraries"].values())
    assert not list((bundle / "lib").glob("*x86*"))


@pytest.mark.parametrize("variant", emulator.CPUS)
def test_logits_and_actions_are_this_machines(
    bundle: Path, game: Path, here: dict[str, Any], variant: str, tmp_path: Path
) -> None:
    """Each emulated CPU takes its own variant, and every older one gives the same."""
    out = tmp_path / "out.json"
    emulator.run(emulator.CPUS[variant], str(PLAYER), str(bundle), str(game), str(STEPS), str(out))
    result = json.loads(out.read_text())
    assert result["chosen"] == f"lib/cpu-aarch64-{variant}.so"
    assert len(result["libraries"]) == 1 + list(emulator.CPUS).index(variant)
    for file, there in result["libraries"].items():
        assert float(np.abs(np.array(there["logits"]) - np.array(here["logits"])).max()) < 1e-3, file
        assert len(there["actions"]) == STEPS and there["actions"] == here["actions"], file


def test_a_kernel_runs_alone() -> None:
    from duomem.compile.kernels.swiglu import swiglu

    both = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    for variant in emulator.CPUS:
        result = emulator.run_kernel(swiglu(32), [both[None], np.zeros((1, 5, 32), np.float32)], variant)[1][0]
        gate, up = both[:, :32], both[:, 32:]
        assert np.allclose(result, gate / (1 + np.exp(-gate)) * up, atol=1e-5)
