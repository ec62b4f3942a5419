"""Trajectories survive the disk, and a malformed one is named by line and field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.core.trajectory import Step, Trajectory, Usage, from_json, read_trajectories

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


def test_thoughts_and_usage_are_there_only_where_they_are_known() -> None:
    """What a program played is written as it always was."""
    assert "usage" not in _ROW and all(
        list(s) == ["observation", "admissible", "action", "is_noise"] for s in _ROW["steps"]
    )
    thinking = replace(TRAJECTORY.steps[0], thought="A desk, then.")
    other = replace(TRAJECTORY, steps=(thinking, TRAJECTORY.steps[1]), usage=Usage(2, 5, 900, 40, 1.25))
    row = json.loads(json.dumps(other.to_json()))
    assert from_json(row, "here") == other and row["usage"]["prompt_tokens"] == 900
    assert [step.get("thought") for step in row["steps"]] == ["A desk, then.", None]
    assert {k: v for k, v in row.items() if k not in ("steps", "usage")} == {
        k: v for k, v in _ROW.items() if k != "steps"
    }


def test_usages_add_up() -> None:
    assert Usage(1, 2, 3, 4, 0.1) + Usage(1, 2, 3, 4, 0.2) == Usage(2, 4, 6, 8, 0.3)


@pytest.mark.parametrize("field", ["tries", "answers", "prompt_tokens", "completion_tokens", "seconds"])
@pytest.mark.parametrize("value", [None, "1", -1, True, float("nan"), 1e300, []], ids=repr)
def test_a_usage_that_counts_nothing(field: str, value: Any) -> None:
    usage = {"tries": 1, "answers": 1, "prompt_tokens": 1, "completion_tokens": 1, "seconds": 1.5}
    assert from_json({**_ROW, "usage": usage}, "here").usage == Usage(1, 1, 1, 1, 1.5)
    for wrong in ({**usage, field: value}, {k: v for k, v in usage.items() if k != field}, [], "x"):
        with pytest.raises(UserError, match="here: field usage does not count tries, answers"):
            from_json({**_ROW, "usage": wrong}, "here")


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
        {"observation": "", "action": "", "admissible": [], "thought": 1},
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
