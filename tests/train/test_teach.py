"""Teaching is resumable, the same on any number of processes, and learns from train games alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from told import sentences

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.core.files import sha256_file
from duomem.core.trajectory import read_trajectories
from duomem.device.alfworld.annotations import Goals
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.build import build_pack
from duomem.train.teachers import teach as teach_module
from duomem.train.teachers.expert import REVISION
from duomem.train.teachers.priors import cached_priors, combine, count_places
from duomem.train.teachers.teach import learn_priors, teach


@pytest.fixture(scope="module")
def train_games(generated_games: Path) -> list[Path]:
    return find_games(generated_games, "train")


def test_the_same_bytes_with_one_and_two_jobs(train_games: list[Path], tmp_path: Path) -> None:
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        priors = learn_priors(train_games, folder / "priors.json", jobs)
        counts = teach(train_games, "train", priors, folder / "t.jsonl", jobs, 50)
    assert counts["games"] == 18 and counts["won"] >= 17
    for name in ("priors.json", "t.jsonl", "t.jsonl.inputs.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    played = list(read_trajectories(tmp_path / "1" / "t.jsonl"))
    assert [t.game for t in played] == [sha256_file(g) for g in train_games]
    assert {(t.split, t.player) for t in played} == {("train", f"expert/{REVISION}")}


def test_an_interrupted_run_goes_on(train_games: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teach(train_games, "train", {}, tmp_path / "whole.jsonl", 1, 50)
    out, played = tmp_path / "t.jsonl", []
    real = teach_module.play_expert

    def play(game: Any, *arguments: Any) -> Any:
        if len(played) == 5:
            raise KeyboardInterrupt
        played.append(game)
        return real(game, *arguments)

    monkeypatch.setattr(teach_module, "play_expert", play)
    with pytest.raises(KeyboardInterrupt):
        teach(train_games, "train", {}, out, 1, 50)
    assert not out.exists()
    monkeypatch.setattr(teach_module, "play_expert", lambda *a: (played.append(a[0]), real(*a))[1])
    counts = teach(train_games, "train", {}, out, 1, 50)
    assert len(played) == 18 and out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert teach(train_games, "train", {}, out, 1, 50) == counts and len(played) == 18


def test_other_inputs_are_refused(train_games: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    teach(train_games[:2], "train", {}, out, 1, 50)
    for games, priors, steps in (
        (train_games[:3], {}, 50),
        (train_games[:2], {"a|b": 0.5}, 50),
        (train_games[:2], {}, 40),
    ):
        with pytest.raises(UserError, match="made from other inputs"):
            teach(games, "train", priors, out, 1, steps)
    with pytest.raises(UserError, match="no train games"):
        teach([], "train", {}, tmp_path / "none.jsonl", 1, 50)
    with pytest.raises(UserError, match="no train games"):
        learn_priors([], tmp_path / "priors.json", 1)


def test_an_expert_without_priors_says_so(generated_games: Path, tmp_path: Path) -> None:
    """It knows nothing of the train games: where it looks first is as good for a scene that has none."""
    played = {}
    for name, more in (("with", []), ("without", ["--no-priors"])):
        out = tmp_path / name / "t.jsonl"
        arguments = ["teach", "--games", str(generated_games), "--jobs", "1", "--out", str(out)]
        assert main([*arguments, *more]) == 0
        record = json.loads((tmp_path / name / "t.jsonl.inputs.json").read_text())
        played[name] = (record["priors"], sum(len(t.steps) for t in read_trajectories(out)))
        assert (out.parent / "priors.json").exists() == (name == "with")
    assert played["without"][0] == "none" and len(played["with"][0]) == 64
    assert played["without"][1] > played["with"][1]


def test_priors_are_shares_of_places(train_games: list[Path]) -> None:
    priors = combine(map(count_places, train_games))
    assert priors and all(0 < share <= 1 for share in priors.values())
    assert list(priors) == sorted(priors) and all("|" in pair for pair in priors)


def test_priors_are_kept_for_their_games_only(train_games: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "priors.json"
    priors = learn_priors(train_games, file, 1)
    assert cached_priors(file, train_games) == priors
    assert cached_priors(file, train_games[1:]) is None
    saved = json.loads(file.read_text())
    for damaged in ({"a|b": "x"}, None, [1]):
        file.write_text(json.dumps({**saved, "priors": damaged}))
        with pytest.raises(UserError, match=r"priors\.json: field priors"):
            cached_priors(file, train_games)


@pytest.mark.parametrize("split", ["train", "valid_seen"])
def test_the_command_reads_nothing_of_validation_games_for_priors(
    generated_games: Path, tmp_path: Path, split: str
) -> None:
    """Without any validation game the priors are the same; its memories refuse validation episodes."""
    train_only = tmp_path / "games"
    shutil.copytree(generated_games, train_only, ignore=shutil.ignore_patterns("valid_*"))
    for root, name, what in ((generated_games, "all", split), (train_only, "train", "train")):
        out = tmp_path / name / "t.jsonl"
        assert main(["teach", "--games", str(root), "--split", what, "--jobs", "1", "--out", str(out)]) == 0
    priors = [json.loads((tmp_path / name / "priors.json").read_text())["priors"] for name in ("all", "train")]
    assert priors[0] == priors[1] == combine(map(count_places, find_games(generated_games, "train")))
    if split == "train":
        assert (tmp_path / "all" / "t.jsonl").read_bytes() == (tmp_path / "train" / "t.jsonl").read_bytes()
    else:
        with pytest.raises(UserError, match="field split is 'valid_seen'"):
            build_pack(tmp_path / "all" / "t.jsonl", tmp_path / "a.dmpack", "a")
        assert "a.dmpack" not in os.listdir(tmp_path)


@pytest.fixture(scope="module")
def told(told_games: Path) -> list[Path]:
    """The same train games with two sentences beside each."""
    return find_games(told_games, "train")


def test_goals_in_peoples_words(told: list[Path], train_games: list[Path], tmp_path: Path) -> None:
    """The expert plays as ever, and the words and whose they are is recorded."""
    teach(train_games, "train", {}, tmp_path / "own.jsonl", 1, 50)
    counts = teach(told, "train", {}, tmp_path / "t.jsonl", 1, 50, goals=Goals("human", None))
    own, played = (list(read_trajectories(tmp_path / name)) for name in ("own.jsonl", "t.jsonl"))
    assert counts["games"] == len(played) == 36 and counts["won"] == 2 * sum(t.won for t in own) >= 34
    for i, t in enumerate(played):
        game = load_game(told[i // 2])
        assert (t.goal, t.goal_source) == (sentences(game)[i % 2], f"human:{i % 2}")
        assert (t.template_goal, t.object_type, t.target_type) == (
            game.task,
            game.goal.object_type,
            game.goal.target_type,
        )
        assert t.intro.endswith(f"Your task is to: {t.goal}") and game.task not in t.intro
        assert [step.action for step in t.steps] == [step.action for step in own[i // 2].steps]
    assert len({t.task_id for t in played}) == 36


def test_a_pack_of_people_told_episodes_holds_the_templates_titles(told: list[Path], tmp_path: Path) -> None:
    teach(told, "train", {}, tmp_path / "t.jsonl", 1, 50, goals=Goals("human", None))
    pack = build_pack(tmp_path / "t.jsonl", tmp_path / "a.dmpack", "a")
    games = [load_game(path) for path in told]
    assert {m.task for m in pack.memories} <= {game.template for game in games} and len(pack.memories) <= len(games)
    found = [pack.search(sentences(game)[1])[0][1] for game in games]
    right = [
        m.triple == (g.task_type, g.goal.object_type, g.goal.target_type) for m, g in zip(found, games, strict=True)
    ]
    assert sum(right) >= 0.9 * len(games)


def test_misread_episodes_are_the_same_on_any_number_of_processes(told: list[Path], tmp_path: Path) -> None:
    for jobs in (1, 2):
        counts = teach(
            told[:6], "train", {}, tmp_path / f"{jobs}.jsonl", jobs, 80, 0.1, goals=Goals("human", 0), misread_rate=0.5
        )
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    assert counts["won"] >= 5
    with pytest.raises(UserError, match="made from other inputs"):
        teach(told[:6], "train", {}, tmp_path / "1.jsonl", 1, 80, 0.1, goals=Goals("human", 0), misread_rate=0.4)


def test_the_command_tells_again(told_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--relabel` writes what playing in these words would have."""
    root, out = str(told_games), [str(tmp_path / f"{i}.jsonl") for i in range(3)]
    people = ["--goals", "human", "--annotation", "all"]
    common = ["teach", "--games", root, "--jobs", "1"]
    assert main([*common, "--out", out[0]]) == 0
    assert main([*common, *people, "--out", out[1]]) == 0
    assert main([*common, *people, "--relabel", out[0], "--out", out[2]]) == 0
    assert Path(out[1]).read_bytes() == Path(out[2]).read_bytes()
    assert "36 episodes, " in capsys.readouterr().out
