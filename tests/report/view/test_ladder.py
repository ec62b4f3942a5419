"""A folder of `duomem compare`: its table, its tests, and the episodes that are in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from played_rows import played
from viewed import compared

from duomem.core.errors import UserError
from duomem.report.table import Page
from duomem.report.view.run import read_view


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr("duomem.report.write.can_draw", lambda: False)
    return compared(tmp_path / "run")


def test_the_ladder_is_the_pages_table(page: Page, tmp_path: Path) -> None:
    ((_, panels),) = read_view([("", tmp_path / "run")]).ladders
    rows = [[row["name"], row["taught"], *row["cells"]] for panel in panels for row in panel["rows"]]
    tests = [cells for panel in panels for cells in panel["comparisons"]]
    lines = page.markdown().splitlines()
    assert [panel["name"] for panel in panels] == ["free", "constrained"]
    assert len(rows) == 6 and len(tests) == len(page.comparisons) > 0
    assert all(f"| {' | '.join(cells)} |" in lines for cells in rows + tests)


def test_the_sets_are_the_files_in_the_folder(page: Page, tmp_path: Path) -> None:
    view = read_view([("", tmp_path / "run")])
    assert [s.name for s in view.sets] == [
        "base, no memory, free",
        "LoRA, no memory, free, seed 0",
        "LoRA, no memory, free, seed 1",
        "random",
        "base, no memory, constrained",
    ]
    assert [row["sets"] for panel in view.ladders[0][1] for row in panel["rows"]] == [[0], [1, 2], [3], [4], [3], []]
    assert (view.first, view.second) == (2, None)


def test_two_runs_with_a_folder(page: Page, tmp_path: Path) -> None:
    view = read_view([("grid", tmp_path / "run"), ("", tmp_path / "teacher.jsonl")])
    assert (view.sets[0].name, view.sets[-1].name) == ("grid: base, no memory, free", "teacher")
    assert (view.first, view.second) == (2, 5)


@pytest.mark.parametrize("name", ["../../../secret.jsonl", "/etc/passwd", "..", "", "a\0b", 7])
def test_only_files_in_the_folder_are_read(page: Page, tmp_path: Path, name: Any) -> None:
    played(tmp_path / "secret.jsonl", "W")
    where = tmp_path / "run" / "compare.json"
    value = json.loads(where.read_text())
    value["conditions"][0]["runs"][0]["file"] = name
    where.write_text(json.dumps(value))
    view = read_view([("", tmp_path / "run")])
    assert view.sets[0].name == "LoRA, no memory, free, seed 0" and len(view.sets) == 4


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("format", "other", "field format is not duomem-report 1"),
        ("conditions", [], "field conditions is empty"),
        ("conditions", {}, "field conditions is not a list"),
        ("conditions", [{"name": "x"}], "field taught of conditions is missing"),
        ("comparisons", [{"panel": 3}], "field panel of comparisons is missing"),
    ],
)
def test_a_damaged_table(page: Page, tmp_path: Path, field: str, value: Any, said: str) -> None:
    where = tmp_path / "run" / "compare.json"
    where.write_text(json.dumps(json.loads(where.read_text()) | {field: value}))
    with pytest.raises(UserError, match=rf"compare\.json: {re.escape(said)}"):
        read_view([("", tmp_path / "run")])


@pytest.mark.parametrize(("field", "value"), [("runs", [{}]), ("span", []), ("low", float("nan")), ("n", True)])
def test_a_damaged_row(page: Page, tmp_path: Path, field: str, value: Any) -> None:
    where = tmp_path / "run" / "compare.json"
    table = json.loads(where.read_text())
    table["conditions"][1][field] = value
    where.write_text(json.dumps(table))
    with pytest.raises(UserError, match=rf"compare\.json: field .*{field}.* of conditions is"):
        read_view([("", tmp_path / "run")])


def test_episodes_that_were_changed_since(page: Page, tmp_path: Path) -> None:
    played(tmp_path / "run" / "episodes" / "base.jsonl", "WWWWWW")
    with pytest.raises(UserError, match=r"base\.jsonl: is not what compare\.json was made from"):
        read_view([("", tmp_path / "run")])


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no compare\.json in it: give a folder of `duomem compare`"):
        read_view([("", tmp_path)])
