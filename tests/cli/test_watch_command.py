"""`duomem watch`, `play --watch` and `replay` where the output is no terminal; on an engine without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_agent

from duomem.cli.main import main
from duomem.device.agent import evaluate as evaluate_module
from duomem.device.watch.record import default_record

GAMES = ("--games", "games", "--split", "train", "--max-steps", "2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, byte_tokenizer: Path, generated_games: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has games, and a bundle in name alone."""
    monkeypatch.setattr(
        evaluate_module, "load_agent", lambda config, overlay=None: fake_agent(config, byte_tokenizer, overlay)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    (tmp_path / "games").symlink_to(generated_games)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_watched_is_recorded_and_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "bundle", *GAMES]) == 0
    watched = capsys.readouterr().out.splitlines()
    assert watched[-1] == f"recorded: {default_record()}"
    (row,) = _rows(default_record())
    assert len(row["steps"]) == len(row["choices"]) == 2
    assert main(["replay"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:-1] == watched[:-2] and shown[-1].startswith("lost in 2 steps, ")
    assert main(["watch", "bundle", *GAMES, "--game", "2", "--out", "own.jsonl"]) == 0
    assert len(_rows(default_record())) == len(_rows(Path("own.jsonl"))) == 1


def test_play_shows_the_same_and_records_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "bundle", *GAMES]) == 0
    watched = capsys.readouterr().out.splitlines()
    for flags in ([], ["--watch"]):
        assert main(["play", "bundle", *GAMES, *flags]) == 0
        assert capsys.readouterr().out.splitlines()[:-1] == watched[:-2]
    assert len(_rows(default_record())) == 1


@pytest.mark.parametrize("flags", [["--human"], ["bundle", "--human", "--hint"]])
def test_a_person_plays(flags: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["look", "inventory"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    assert main(["watch", *flags, *GAMES]) == 0
    out = capsys.readouterr().out
    assert "  2 > inventory\n    You are not carrying anything.\n" in out and ("hint: " in out) == ("--hint" in flags)
    (row,) = _rows(default_record())
    assert row["player"] == "person" and [step["action"] for step in row["steps"]] == ["look", "inventory"]
    assert ("choices" in row) == ("--hint" in flags)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["watch", *GAMES], 2, "Missing argument 'BUNDLE'"),
        (["watch", *GAMES, "--human", "--hint"], 2, "Missing argument 'BUNDLE'"),
        (["watch", "bundle", *GAMES, "--hint"], 2, "--hint: is for a person who plays"),
        (["watch", "bundle", *GAMES, "--delay", "nan"], 2, "--delay"),
        (["watch", "bundle", *GAMES, "--delay", "61"], 2, "--delay"),
        (["watch", "bundle", *GAMES, "--game", "0"], 1, "--game 0: train has"),
        (["watch", "bundle", *GAMES, "--out", "bundle/bundle.json"], 1, "is no episode file: give another --out"),
        (["replay"], 1, "no such episode file"),
        (["replay", "bundle/bundle.json"], 1, "holds no episode"),
    ],
)
def test_what_is_wrong_is_told(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_an_episode_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "bundle", *GAMES]) == 0
    assert main(["replay", "--episode", "2"]) == 1
    assert "has 1: give a number from 1 to 1" in capsys.readouterr().err
    default_record().write_text("")
    assert main(["replay"]) == 1 and "holds no episode" in capsys.readouterr().err
