"""Episode files written for tests: which games were won is what a report is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem.core.trajectory import Step, Trajectory


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write("a.jsonl", "WLW") is a file of three games, the first and the last won; prefix: of the games' digests;
    costs: with seconds and tokens, as a student's has.
    """

    def make(name: str, outcomes: str, prefix: str = "g", costs: bool = True) -> Path:
        with open(tmp_path / name, "w") as f:
            for i, outcome in enumerate(outcomes):
                steps = tuple(Step("You see.", ("look",), "look") for _ in range(i + 1))
                row = Trajectory(
                    f"{prefix}{i}".rjust(64, "0"),
                    "group",
                    "valid_seen",
                    "pick_and_place_simple",
                    "mug",
                    "desk",
                    "goal",
                    "template",
                    "goal",
                    "intro",
                    steps,
                    "last",
                    outcome == "W",
                    "student:x",
                    0,
                ).to_json()
                f.write(json.dumps(row | ({"seconds": 2.0, "prefilled": 70, "decoded": 30} if costs else {})) + "\n")
        return tmp_path / name

    return make
