"""A kit installed and played offline by a bare Debian arm64 Python: no pip, no network, an empty environment.

Skipped without scripts/aarch64_env.sh, whose wheels are the ones the kit brings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import emulator
import pytest

from duomem.core.cpu import cpu_arch

STEPS = 4
HERE = emulator.PYTHON.parent
pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(emulator.missing() is not None, reason=emulator.missing() or ""),
    pytest.mark.skipif(cpu_arch() == "aarch64", reason="this machine is AArch64 itself"),
]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's arm64 python3 with nothing installed. It starts itself again under the emulator, as tools do."""
    program = tmp_path_factory.mktemp("bin") / "python3"
    program.write_text(
        f'#!/bin/sh\nexec qemu-aarch64-static -0 {program} -cpu max -L {HERE}/root {HERE}/root/usr/bin/python3 "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture(scope="module")
def kit(bundle: Path, generated_games: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from duomem.deploy.kit import Kit, make_kit, sizes
    from duomem.deploy.wheels import PLATFORMS

    cache = tmp_path_factory.mktemp("cache")
    (cache / "aarch64").symlink_to(HERE / "wheels")
    out = tmp_path_factory.mktemp("kits") / "phone"
    made, _ = make_kit(bundle, Kit(PLATFORMS["aarch64"], cache, ("3.11",), games=generated_games), out)
    assert sizes(made)["runtime"] < 30e6
    return out


def run(kit: Path, python: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A starter of the kit with an empty environment and, where this user may say so, without any network."""
    alone = (
        ["unshare", "-n"]
        if os.geteuid() == 0
        and not subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode
        else []
    )
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DUOMEM_HOME": str(home), "PYTHON": str(python)}
    return subprocess.run(
        [*alone, "sh", str(kit / arguments[0]), *arguments[1:]],
        env=env,
        cwd="/",
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
    )


def test_one_command_installs_and_plays_as_this_machine_does(
    kit: Path, bundle: Path, bare_python: Path, game: Path, tmp_path: Path
) -> None:
    arguments = ["--game", str(game), "--max-steps", str(STEPS)]
    there = run(kit, bare_python, tmp_path / "home", "play", *arguments)
    assert there.returncode == 0, there.stderr
    here = subprocess.run(
        [sys.executable, "-m", "duomem.cli.main", "play", bundle.with_name("host"), *arguments],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    lines = [out.splitlines() for out in (there.stdout, here.stdout)]
    assert len([line for line in lines[0] if "> " in line]) == STEPS
    assert lines[0][:-1] == lines[1][:-1]
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    check = run(kit, bare_python, tmp_path / "home", "check")
    assert check.returncode == 0 and "decodes a token in" in check.stdout, check.stderr


def test_a_kit_for_another_machine_says_so(kit: Path, tmp_path: Path) -> None:
    python = shutil.which("python3.11", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no python3.11 of this machine's own")
    done = run(kit, Path(python), tmp_path / "home", "check")
    assert done.returncode == 1 and "is for Linux aarch64, this is Linux x86_64" in done.stderr
