"""An episode file is read whole or refused with one line: what a page holds of it is what it says."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes import episode
from played_rows import played, row, write_rows

from duomem.core.errors import UserError
from duomem.core.trajectory import Usage, from_json
from duomem.report.view.episode_set import EpisodeSet, Room, read_set
from duomem.report.view.run import read_view
from duomem.train.formats.convert import export_trajectories


def _read(file: Path) -> EpisodeSet:
    return read_set(file, "name", Room())


def test_records_are_whole(tmp_path: Path) -> None:
    rows = [row(0), row(1, won=False, steps=5) | {"more": {"of": ["it"]}}]
    read = _read(write_rows(tmp_path / "a.jsonl", rows))
    assert json.loads(gzip.decompress(read.records)) == rows
    assert [(e.won, e.steps, e.seconds, e.tokens) for e in read.episodes] == [(True, 3, 0.5, 120), (False, 5, 0.5, 121)]
    assert read.facts == {"protocol": "free", "k": "1", "action filter": "yes"}


def test_documents_are_what_export_writes(tmp_path: Path) -> None:
    file = played(tmp_path / "a.jsonl", "WLW")
    export_trajectories(file, tmp_path / "atif", "atif")
    documents = json.loads(gzip.decompress(_read(file).documents))
    assert documents == [[path.name, path.read_text()] for path in sorted((tmp_path / "atif").iterdir())]


def test_a_teachers_file(tmp_path: Path) -> None:
    told = replace(episode(0), usage=Usage(1, 2, 1000, 50, 2.0), player="llm:m")
    read = _read(write_rows(tmp_path / "t.jsonl", [told.to_json() | {"ended": "won"}, episode(1).to_json()]))
    assert [(e.seconds, e.tokens) for e in read.episodes] == [(2.0, 1050), (None, None)]
    assert from_json(json.loads(gzip.decompress(read.records))[0], "") == told


def test_the_same_file_is_the_same_page(tmp_path: Path) -> None:
    file = played(tmp_path / "a.jsonl", "WL")
    assert _read(file) == _read(file)


CHOICE = {"candidates": [["look", 0.5]], "withheld": [], "seconds": 0.1, "prefilled": 1, "decoded": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("choices", [CHOICE]),
        ("choices", [CHOICE, CHOICE, CHOICE | {"candidates": [["look", 2]]}]),
        ("choices", [CHOICE, CHOICE, CHOICE | {"candidates": [["look", "1"]]}]),
        ("choices", [CHOICE, CHOICE, CHOICE | {"candidates": [["look", 0.1]] * 2000}]),
        ("choices", [CHOICE, CHOICE, CHOICE | {"withheld": "look"}]),
        ("choices", [CHOICE, CHOICE, CHOICE | {"seconds": -1}]),
        ("choices", [CHOICE, CHOICE, []]),
        ("choices", 7),
        ("memories", "a"),
        ("memory_texts", ["a", "b"]),
        ("memory_texts", [1]),
        ("seconds", "fast"),
        ("prefilled", True),
        ("ended", []),
        ("steps", [{}]),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, field: str, value: Any) -> None:
    file = write_rows(tmp_path / "a.jsonl", [row(0), row(1) | {field: value}])
    with pytest.raises(UserError, match=rf"a\.jsonl: line 2: field {field} "):
        _read(file)


def test_a_number_that_json_has_not_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(row(0) | {"other": float("nan")}) + "\n")
    with pytest.raises(UserError, match="line 1: holds a number that is not finite"):
        _read(file)


def test_a_file_without_what_is_optional(tmp_path: Path) -> None:
    bare = {name: value for name, value in row(0).items() if name not in ("choices", "memory_texts", "ended")}
    nothing = row(1) | {"choices": [None, None, CHOICE], "memories": [], "memory_texts": []}
    assert len(_read(write_rows(tmp_path / "a.jsonl", [bare, nothing])).episodes) == 2


def test_limits_are_one_line(tmp_path: Path) -> None:
    file = played(tmp_path / "a.jsonl", "WWW")
    with pytest.raises(UserError, match=r"a\.jsonl: a page holds at most 20,000 episodes"):
        read_set(file, "a", Room(episodes=2))
    with pytest.raises(UserError, match=r"a\.jsonl: a page holds at most 256 MB of episodes"):
        read_set(file, "a", Room(bytes=1000))
    assert read_set(file, "a", Room(episodes=3, bytes=file.stat().st_size))


def test_two_files_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duomem.report.view.run.Room", lambda: Room(episodes=5))
    one, two = (played(tmp_path / name, "WWW") for name in ("a.jsonl", "b.jsonl"))
    with pytest.raises(UserError, match=r"b\.jsonl: a page holds at most"):
        read_view([("", one), ("", two)])


def test_labels(tmp_path: Path) -> None:
    one, two = (played(tmp_path / folder / "a.jsonl", "WW") for folder in "xy")
    view = read_view([("", one), ("", two)])
    assert [s.name for s in view.sets] == ["a", "a (2)"] and (view.first, view.second) == (0, 1)
    assert [s.name for s in read_view([("free", one)]).sets] == ["free"]
