"""Trajectories survive the disk, and a malformed one is named by line and field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.core.trajectory import Step, Trajectory, from_json, read_trajectories

TRAJECTORY = Trajectory(
    game="f" * 64,
    group="pick_and_place_simple-Mug-None-Desk-301",
    split="train",
    task_type="pick_and_place_simple",
    object_type="mug",
    target_type="desk",
    goal="put a mug in desk.",
    goal_source="template",
    template_goal="put a mug in desk.",
    intro="Your task is to: put a mug in desk.",
    steps=(Step("You see.", ("go to desk 1", "look"), "go to desk 1"), Step("On the desk 1 ...", ("look",), "look")),
    last="You are facing.",
    won=True,
    player="expert/1",
    seed=0,
)
_ROW = TRAJECTORY.to_json()


def test_round_trip(tmp_path: Path) -> None:
    other = replace(TRAJECTORY, steps=(), won=False, goal="a line\u2028of ä")
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(t.to_json(), ensure_ascii=False) + "\n" for t in (TRAJECTORY, other)))
    assert list(read_trajectories(path)) == [TRAJECTORY, other]


def test_the_json_form_is_what_the_file_reads_back_as() -> None:
    assert json.loads(json.dumps(_ROW)) == _ROW and from_json(_ROW, "here") == TRAJECTORY


def test_turns_pair_actions_with_what_they_brought() -> None:
    assert TRAJECTORY.turns() == [("go to desk 1", "On the desk 1 ..."), ("look", "You are facing.")]
    assert replace(TRAJECTORY, steps=()).turns() == []


@pytest.mark.parametrize("field", _ROW)
@pytest.mark.parametrize("value", [None, 1.5, {}], ids=repr)
def test_a_field_of_another_type_is_named(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"here: field {field} "):
        from_json({**_ROW, field: value}, "here")


@pytest.mark.parametrize("field", _ROW)
def test_a_missing_field_is_named(field: str) -> None:
    row = {name: value for name, value in _ROW.items() if name != field}
    with pytest.raises(UserError, match=f"here: field {field} "):
        from_json(row, "here")


@pytest.mark.parametrize(
    "step",
    [
        None,
        [],
        {},
        {"observation": "", "action": ""},
        {"observation": 1, "action": "", "admissible": []},
        {"observation": "", "action": None, "admissible": []},
        {"observation": "", "action": "", "admissible": "look"},
        {"observation": "", "action": "", "admissible": ["look", 3]},
    ],
    ids=repr,
)
def test_a_malformed_step(step: Any) -> None:
    with pytest.raises(UserError, match="here: field steps holds a malformed step"):
        from_json({**_ROW, "steps": [step]}, "here")


def test_the_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(TRAJECTORY.to_json()) + "\n" + '{"schema": 1}\n')
    with pytest.raises(UserError, match=f"^{path}: line 2: field schema is 1, this duomem reads 2"):
        list(read_trajectories(path))
