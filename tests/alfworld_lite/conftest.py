"""The package alfworld_lite as its wheel has it, on sys.path: this tree keeps its engine under another name."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2] / "alfworld_lite"


def _assembled() -> str:
    spec = importlib.util.spec_from_file_location("alfworld_lite_vendor", ROOT / "vendor.py")
    assert spec and spec.loader
    vendor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vendor)
    folder = tempfile.mkdtemp(prefix="alfworld-lite-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    vendor.assemble(Path(folder))
    return folder


sys.path[:0] = [_assembled(), str(ROOT.parent / "tests" / "device" / "alfworld")]  # the second for old_rules


@pytest.fixture(scope="session")
def train_games(generated_games: Path) -> list[str]:
    """Paths of 18 generated games, three of each task type."""
    from alfworld_lite import find_games

    return [str(path) for path in find_games(generated_games, "train")]


@pytest.fixture
def config(generated_games: Path) -> dict[str, Any]:
    """As alfworld's base_config.yaml has it, over the generated games."""
    split = generated_games / "json_2.1.1"
    return {
        "dataset": {
            "data_path": str(split / "train"),
            "eval_id_data_path": str(split / "valid_seen"),
            "eval_ood_data_path": str(split / "valid_unseen"),
            "num_train_games": -1,
            "num_eval_games": -1,
        },
        "env": {
            "type": "AlfredTWEnv",
            "domain_randomization": False,
            "task_types": [1, 2, 3, 4, 5, 6],
            "expert_type": "handcoded",
            "goal_desc_human_anns_prob": 0,
        },
        "general": {"training_method": "dagger"},
        "dagger": {"training": {"max_nb_steps_per_episode": 50}},
        "rl": {"training": {"max_nb_steps_per_episode": 20}},
    }
