"""Relabelling tells the same steps in other words, of the games it is given, resumably."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from told import sentences

from duomem.core.errors import GameError, TrainError, UserError
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.trajectory import Trajectory, read_trajectories
from duomem.device.alfworld.annotations import Goals
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.train.teachers.relabel import relabel
from duomem.train.teachers.teach import teach

ALL = Goals("human", None)


@pytest.fixture(scope="module")
def games(told_games: Path) -> list[Path]:
    return find_games(told_games, "train")


@pytest.fixture(scope="module")
def played(games: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the first six games, told by template; each episode's second step was a look that told the goal."""
    file = tmp_path_factory.mktemp("played") / "t.jsonl"
    teach(games[:6], "train", {}, file, 1, 50)
    episodes = [_with_look(t) for t in read_trajectories(file)]
    file.write_text("".join(json.dumps(t.to_json()) + "\n" for t in episodes))
    return file


def _with_look(t: Trajectory) -> Trajectory:
    look = replace(t.steps[0], action="look")
    return replace(t, steps=(look, *t.steps))


def test_the_same_steps_in_each_sentence(games: list[Path], played: Path, tmp_path: Path) -> None:
    out = tmp_path / "told.jsonl"
    before = list(read_trajectories(played))
    counts = relabel(played, games, ALL, out)
    after = list(read_trajectories(out))
    assert counts["games"] == len(after) == 12 and counts["won"] == 2 * sum(t.won for t in before)
    assert counts["steps"] == 2 * sum(len(t.steps) for t in before)
    for i, t in enumerate(after):
        old, told = before[i // 2], sentences(load_game(games[i // 2]))[i % 2]
        assert (t.goal, t.goal_source, t.template_goal) == (told, f"human:{i % 2}", old.goal)
        assert old.goal in old.intro and t.intro == old.intro.replace(old.goal, told)
        observed = [step.observation for step in t.steps]
        assert observed == [step.observation.replace(f"is to: {old.goal}", f"is to: {told}") for step in old.steps]
        assert observed[0] == observed[1] == t.intro  # the first observation, and the look
        assert [replace(step, observation="") for step in t.steps] == [replace(s, observation="") for s in old.steps]
        unchanged = {"goal": "", "goal_source": "", "intro": "", "steps": ()}
        assert replace(t, **unchanged) == replace(old, **unchanged)


def test_one_annotation_and_back_to_the_template(games: list[Path], played: Path, tmp_path: Path) -> None:
    assert relabel(played, games, Goals("human", 1), tmp_path / "told.jsonl")["games"] == 6
    assert {t.goal_source for t in read_trajectories(tmp_path / "told.jsonl")} == {"human:1"}
    relabel(tmp_path / "told.jsonl", games, Goals(), tmp_path / "back.jsonl")
    assert list(read_trajectories(tmp_path / "back.jsonl")) == list(read_trajectories(played))


def test_episodes_of_other_games_are_refused(games: list[Path], played: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=rf"{played}: line 3: field game: [0-9a-f]{{12}} is none of these games"):
        relabel(played, games[:2] + games[3:], ALL, tmp_path / "told.jsonl")
    assert not list(tmp_path.iterdir())


def test_games_without_annotations_are_refused(generated_games: Path, played: Path, tmp_path: Path) -> None:
    with pytest.raises(GameError, match=r"traj_data\.json: no such file"):
        relabel(played, find_games(generated_games, "train"), ALL, tmp_path / "told.jsonl")
    assert not list(tmp_path.iterdir())


def test_it_goes_on_where_it_stopped(
    games: list[Path], played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relabel(played, games, ALL, tmp_path / "whole.jsonl")
    out, written = tmp_path / "told.jsonl", []
    really_append = ResumableJsonl.append

    def append(self: ResumableJsonl, row: dict[str, object]) -> None:
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(row)
        really_append(self, row)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ResumableJsonl, "append", append)
        relabel(played, games, ALL, out)
    assert not out.exists()
    monkeypatch.setattr(ResumableJsonl, "append", lambda self, row: (written.append(row), really_append(self, row)))
    counts = relabel(played, games, ALL, out)
    assert len(written) == 12 and out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert relabel(played, games, ALL, out) == counts and len(written) == 12
    with pytest.raises(UserError, match="made from other inputs"):
        relabel(played, games, Goals("human", 0), out)
