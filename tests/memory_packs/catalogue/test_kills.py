"""kill -9 while packs and students are pulled, updated, published, keys rotated: nothing is lost, nothing is left.

kill_points.py does more of it by hand: every call of every action, as many random times as wanted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ACTIONS = ("pull", "update", "student", "publish", "rotate")


def kills(folder: Path, *words: str) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    program = [sys.executable, HERE / "kill_points.py", folder, *words]
    done = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("action", ACTIONS)
def test_at_some_file_system_calls(tmp_path: Path, action: str) -> None:
    assert kills(tmp_path, action, "every", "17") >= 3


@pytest.mark.slow
@pytest.mark.parametrize("action", ["pull", "update"])
def test_at_every_file_system_call(tmp_path: Path, action: str) -> None:
    assert kills(tmp_path, action, "every", "1") > 40


@pytest.mark.slow
@pytest.mark.parametrize("action", ["student", "publish", "rotate"])
def test_at_every_fifth_file_system_call(tmp_path: Path, action: str) -> None:
    assert kills(tmp_path, action, "every", "5") > 8


@pytest.mark.slow
@pytest.mark.parametrize("action", ["pull", "update"])
def test_at_random_times(tmp_path: Path, action: str) -> None:
    assert kills(tmp_path, action, "random", "30", "60", "7") == 30
