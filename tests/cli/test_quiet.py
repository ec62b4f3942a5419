"""A command's error stream is its own: no bar and no warning of a library it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOISE = """
import warnings
from duomem.cli import main as module
import duomem.cli.completion
assert module.main(["--version"]) == 0
warnings.warn("a library's")
"""


def _run(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONWARNINGS", "TQDM_DISABLE")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**kept, **environment}
    )
    return done.stderr


def test_warnings_are_off_unless_asked_for() -> None:
    assert _run(NOISE) == ""
    assert "a library's" in _run(NOISE, PYTHONWARNINGS="default")


@pytest.mark.parametrize("name", ["TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY"])
def test_what_a_user_sets_stays(name: str) -> None:
    code = f"import os\nfrom duomem.cli.main import main\nmain(['--version'])\nassert os.environ[{name!r}] == 'x'"
    assert _run(code, **{name: "x"}) == ""


@pytest.mark.slow
def test_loading_and_saving_a_model_shows_no_bars(tiny_model: Path, tmp_path: Path) -> None:
    """transformers' own, and those of its reader of GGUF files, which are tqdm's."""
    pytest.importorskip("transformers")
    code = f"""
from duomem.cli.main import main
main(["--version"])
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained({str(tiny_model)!r}).save_pretrained({str(tmp_path)!r})
list(tqdm([1, 2]))
"""
    assert _run(code) == ""
