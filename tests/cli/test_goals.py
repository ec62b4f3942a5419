"""Goals in people's words, and in one's own, as a user asks for them; on an engine without a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import fake_agent
from told import sentences

from duomem.cli.main import main
from duomem.device.agent import evaluate as evaluate_module
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack


@pytest.fixture
def place(
    tmp_path: Path, byte_tokenizer: Path, told_games: Path, generated_games: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current folder, with a bundle in name alone and told games."""
    monkeypatch.setattr(evaluate_module, "load_agent", lambda config, overlay=None: fake_agent(config, byte_tokenizer))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    (tmp_path / "told").symlink_to(told_games)
    (tmp_path / "games").symlink_to(generated_games)
    return tmp_path


def _eval(*arguments: str) -> int:
    return main(["eval", "bundle", "--games", "told", "--jobs", "1", "--max-steps", "1", *arguments])


def test_eval_says_whose_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, goals, n in (
        ((), "template", 6),
        (("--goals", "human"), "human:0", 6),
        (("--goals", "human", "--annotation", "1"), "human:1", 6),
        (("--goals", "human", "--annotation", "all"), "human:all", 12),
    ):
        assert _eval(*arguments) == 0
        page = capsys.readouterr().out
        assert f"bundle on 6 valid_seen games, {goals} goals, constrained" in page and f"0/{n}" in page
        assert _eval("--json", *arguments) == 0  # played already
        told = json.loads(capsys.readouterr().out)
        assert (told["goals"], told["scores"]["all"]["n"]) == (goals, n)
    assert len(list(Path("runs/eval").glob("*.jsonl"))) == 4


def test_eval_of_an_annotation_that_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _eval("--goals", "human", "--annotation", "7") == 1
    err = capsys.readouterr().err
    assert "has 2 annotations, none of number 7: give --annotation 0 to 1, or all" in err and err.count("\n") == 1


def _play(*arguments: str) -> int:
    return main(["play", "bundle", "--max-steps", "1", *arguments])


def test_play_in_a_persons_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    game = load_game(find_games(place / "told", "valid_seen")[2])
    for number, sentence in enumerate(sentences(game)):
        assert _play("--games", "told", "--game", "3", "--goals", "human", "--annotation", str(number)) == 0
        page = capsys.readouterr().out
        assert f"Your task is to: {sentence}\n" in page and game.task not in page


def test_play_in_ones_own_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traj_data.json is needed; the words are shown, and find the memory that they mean."""
    game = load_game(find_games(place / "games", "valid_seen")[0])
    meant = game.task_type, game.goal.object_type, game.goal.target_type
    own = "would you deal with that doodad, please"
    lexicon = Lexicon(
        [[meant[0]], sorted([meant[1], "nothing"]), [meant[2]]], {"doodad": [1 + (meant[1] > "nothing"), 90]}
    )
    memories = [
        Memory("wrong.", meant[0], "nothing", meant[2], ("look",), "e" * 64, "g"),
        Memory("right.", *meant, ("look",), "f" * 64, "g"),
    ]
    write_pack(place / "p.dmpack", "p", "expert/1", "", memories, lexicon)
    assert _play("--games", "games", "--pack", "p.dmpack", "--goal", f"  {own} ") == 0
    page = capsys.readouterr().out
    assert f"Your task is to: {own}\n" in page and game.task not in page and "in 1 steps" in page
    assert "memory: right." in page and "wrong." not in page


@pytest.mark.parametrize("goal", ["", " \t", "\x1b\x07", "x" * 501])
def test_words_that_are_no_line(place: Path, capsys: pytest.CaptureFixture[str], goal: str) -> None:
    assert _play("--games", "games", "--goal", goal) == 1
    err = capsys.readouterr().err
    assert "a goal must be a line of 1 to 500 printable letters" in err and err.count("\n") == 1
    assert err.strip().isprintable()


def test_compare_in_peoples_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = ["--games", "told", "--goals", "human", "--annotation", "all", "--jobs", "1"]
    assert main(["teach", *people, "--split", "valid_seen", "--out", "teacher.jsonl"]) == 0
    common = ["--base", "bundle", "--teacher", "teacher.jsonl", "--protocol", "free", "--max-steps", "1"]
    assert main(["compare", *common, *people, "--out", "out"]) == 0
    conditions = {c["name"]: c for c in json.loads(Path("out/compare.json").read_text())["conditions"]}
    assert {c["n"] for c in conditions.values()} == {12} and conditions["teacher"]["success"] == 1
    assert conditions["base, no memory"]["runs"][0]["inputs"]["goals"] == "human:all"
    capsys.readouterr()
    assert main(["compare", *common, "--games", "told", "--jobs", "1", "--out", "own"]) == 1
    assert "teacher.jsonl: lacks 6 of the games asked for" in capsys.readouterr().err
