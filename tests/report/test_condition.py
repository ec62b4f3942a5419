"""A condition's figures are those of its files: seeds averaged, games counted once, other games refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.core.resumable_jsonl import sidecar_of
from duomem.core.stats import wilson
from duomem.report.condition import Condition, ConditionResult, pooled, read_result, read_run


def test_one_file(write: Callable[..., Path]) -> None:
    file = write("a.jsonl", "WLWW")
    sidecar_of(file).write_text('{"bundle": "b"}')
    result = read_result(Condition("a", "nothing", (file,)))
    assert (result.n, result.success, result.interval) == (4, 0.75, wilson(3, 4))
    assert (result.steps, result.seconds, result.tokens) == (2.5, 2.0, 100.0)
    assert result.runs[0].inputs == {"bundle": "b"}
    assert json.loads(json.dumps(result.to_json()))["runs"][0]["wins"] == 3


def test_seeds_are_averaged_and_do_not_narrow_the_interval(write: Callable[..., Path]) -> None:
    files = (write("a.jsonl", "WWWL"), write("b.jsonl", "WLLL"))
    result = read_result(Condition("a", "nothing", files, ("0", "1")))
    assert (result.n, result.success, result.span) == (4, 0.5, (0.25, 0.75))
    assert result.interval == wilson(2, 4)


def test_a_teacher_has_no_tokens(write: Callable[..., Path]) -> None:
    result = read_result(Condition("t", "itself", (write("t.jsonl", "WW", costs=False),)))
    assert result.seconds is None and result.tokens is None and result.steps == 1.5


def test_some_of_a_files_games(write: Callable[..., Path]) -> None:
    file = write("t.jsonl", "WLWL")
    games = ["g1".rjust(64, "0"), "g2".rjust(64, "0")]
    assert read_result(Condition("t", "", (file,)), games).runs[0].won == dict(zip(games, (False, True), strict=True))
    with pytest.raises(UserError, match=r"t\.jsonl: lacks 1 of the games"):
        read_result(Condition("t", "", (file,)), [*games, "h" * 64])


def _told(file: Path, *sources: str) -> Path:
    """The file's episodes with their goals in these words, in turn."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for i, row in enumerate(rows):
        row["goal_source"] = sources[i % len(sources)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_each_sentence_of_a_game_is_an_episode_of_its_own(write: Callable[..., Path], tmp_path: Path) -> None:
    both = tmp_path / "both.jsonl"
    first = _told(write("a.jsonl", "WL"), "human:0")
    both.write_text(first.read_text() + _told(write("b.jsonl", "LL"), "human:1").read_text())
    game = "g0".rjust(64, "0")
    run = read_run(both)
    assert run.won[f"{game}/human:0"] and not run.won[f"{game}/human:1"] and len(run.won) == 4
    assert read_run(both, [f"{game}/human:1"]).won == {f"{game}/human:1": False}
    result = read_result(Condition("a", "", (both,)))
    assert (result.n, result.success) == (4, 0.25)
    with pytest.raises(UserError, match=r"both\.jsonl: lacks 1 of the games"):
        read_run(both, [game])
    twice = tmp_path / "twice.jsonl"
    twice.write_text(first.read_text() * 2)
    with pytest.raises(UserError, match=r"twice\.jsonl: line 3: plays game 0+ a second time"):
        read_run(twice)
    with pytest.raises(UserError, match=r"is not of the same games as"):
        read_result(Condition("a", "", (first, write("own.jsonl", "WL")), ("0", "1")))


def test_files_it_refuses(write: Callable[..., Path], tmp_path: Path) -> None:
    whole, other = write("a.jsonl", "WL"), write("b.jsonl", "WL", prefix="h")
    twice = tmp_path / "twice.jsonl"
    twice.write_text(whole.read_text() * 2)
    (tmp_path / "empty.jsonl").write_text("")
    for files, said in (
        ((whole, other), r"b\.jsonl: is not of the same games as .*a\.jsonl"),
        ((twice,), r"twice\.jsonl: line 3: plays game 0+ a second time"),
        ((tmp_path / "empty.jsonl",), r"empty\.jsonl: lacks any episode"),
        ((tmp_path / "x.jsonl",), r"x\.jsonl: no such episode file"),
    ):
        with pytest.raises(UserError, match=said):
            read_result(Condition("a", "", files, ("",) * len(files)))


def _task_type(write: Callable[..., Path], name: str, outcomes: str, prefix: str, series: str) -> ConditionResult:
    files = (write(f"{name}-{series}.jsonl", outcomes, prefix),)
    return read_result(Condition(f"{name}, {series}", "expert", files, series=series, at=name))


def test_task_types_are_pooled_and_same_games_are_not(write: Callable[..., Path]) -> None:
    results = [
        _task_type(write, "heat", "WWW", "h", "pack"),
        _task_type(write, "cool", "L", "c", "pack"),
        _task_type(write, "heat", "WLL", "h", "none"),
        _task_type(write, "cool", "L", "c", "none"),
    ]
    pack, none = pooled(results)
    assert (pack.condition.name, pack.condition.at) == ("pack, all (mean of 2: 50.0%)", "all")
    assert (pack.n, pack.success, pack.steps) == (4, 0.75, 1.75)
    assert (none.n, none.success, none.tokens) == (4, 0.25, 100)
    assert "file" not in pack.to_json()["runs"][0]
    assert pooled([results[0], _task_type(write, "again", "WWW", "h", "pack")]) == []
    assert pooled(results[:1]) == []
