"""Episodes are appended whole to an episode file, read back as they were, and to nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import FileError, UserError
from duomem.core.resumable_jsonl import sidecar_of
from duomem.device.agent.baseline_player import RandomConfig
from duomem.device.agent.choice import Choice
from duomem.device.agent.evaluate import episode_row, read_episodes
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.watch.record import append_row, check_record
from duomem.device.watch.recorded import read_recorded


@pytest.fixture(scope="module")
def row(generated_games: Path) -> dict[str, Any]:
    """An episode with choices."""
    game = load_game(find_games(generated_games, "train")[0])
    episode = RandomConfig(max_steps=4).load_player().play(game, "train")
    steps = len(episode.trajectory.steps)
    choices = [Choice((("look", 0.5),), ("help",), 0.25, 3, 2).to_json()] * steps
    return {**episode_row(episode), "choices": choices, "memory_texts": ["a. 1. look;"], "prefilled": 12, "decoded": 8}


def test_rows_are_appended_and_read_back(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "new" / "e.jsonl"
    append_row(path, row)
    append_row(path, row)
    assert len(read_episodes(path)) == 2
    (first, second) = read_recorded(path)
    assert first == second and first.trajectory.to_json().items() <= row.items()
    assert (first.memories, first.tokens, first.choices[0]) == (
        ("a. 1. look;",),
        20,
        Choice((("look", 0.5),), ("help",), 0.25, 3, 2),
    )
    moments = first.story().moments
    assert len(moments) == len(row["steps"]) + 1 and moments[1].choice == first.choices[0]
    assert moments[-1].ended.startswith(f"{'won' if row['won'] else 'lost'} in ")


def test_what_a_crash_left_is_cut_off(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    append_row(path, row)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    append_row(path, row)
    assert path.read_bytes() == whole + whole
    path.write_bytes(whole[:100])
    with pytest.raises(FileError, match="is no episode file"):
        append_row(path, row)


@pytest.mark.parametrize("content", [b"# notes\n", b"[1]\n", b'{"schema": 1}\n', b"\xff\n"])
def test_another_file_is_left_alone(row: dict[str, Any], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(FileError, match="is no episode file: give another --out"):
        append_row(path, row)
    assert path.read_bytes() == content


def test_a_finished_evaluation_is_left_alone(tmp_path: Path) -> None:
    sidecar_of(tmp_path / "e.jsonl").write_text("{}")
    with pytest.raises(FileError, match="finished file of `duomem eval`"):
        check_record(tmp_path / "e.jsonl")


def test_a_teachers_trajectory_is_read_too(row: dict[str, Any], tmp_path: Path) -> None:
    extra = ("choices", "memory_texts", "memories", "seconds", "prefilled", "decoded", "ended")
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({k: v for k, v in row.items() if k not in extra}) + "\n")
    (read,) = read_recorded(path)
    assert (read.choices, read.memories, read.seconds, read.tokens) == ((), (), None, None)
    assert read.cost == f"in {len(row['steps'])} steps"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choices": [{}]}, "field choices is not a list with one item a step"),
        ({"choices": {}}, "field choices"),
        ({"memory_texts": [1]}, "field memory_texts"),
        ({"memory_texts": ["a"] * 101}, "field memory_texts"),
        ({"schema": 9}, "field schema is 9"),
    ],
)
def test_a_wrong_field_is_named(row: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps(row | change) + "\n")
    with pytest.raises(UserError, match=f"line 1: {said}"):
        list(read_recorded(path))


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": [["a"]]},
        {"candidates": [["a", -1]]},
        {"candidates": [["a", float("nan")]]},
        {"withheld": [None]},
        {"seconds": True},
        {"decoded": 10**400},
    ],
)
def test_a_wrong_choice_is_named(row: dict[str, Any], tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "e.jsonl"
    choices = [*row["choices"][:-1], row["choices"][-1] | change]
    path.write_text(json.dumps(row | {"choices": choices}) + "\n")
    with pytest.raises(UserError, match=f"line 1: item {len(choices)} of field choices is not"):
        list(read_recorded(path))


def test_an_episode_without_end_is_not_shown(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps(row | {"choices": [], "steps": row["steps"][:1] * 1001}) + "\n")
    with pytest.raises(UserError, match="field steps has more than 1000 steps"):
        list(read_recorded(path))
