"""`duomem play --learn` writes beside the pack, and nothing else does; on an engine without a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import fake_agent

from duomem.cli.main import main
from duomem.device.agent import evaluate as evaluate_module
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.overlay import Overlay, default_path
from duomem.memory_packs.pack import Pack, write_pack

ARGUMENTS = ("bundle", "--games", "games", "--split", "train", "--max-steps", "1")


@pytest.fixture
def pack(tmp_path: Path, byte_tokenizer: Path, generated_games: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """A pack with a memory of the first train game's goal; the current folder has a bundle in name alone."""
    monkeypatch.setattr(
        evaluate_module, "load_agent", lambda config, overlay=None: fake_agent(config, byte_tokenizer, overlay)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    (tmp_path / "games").symlink_to(generated_games)
    game = load_game(find_games(generated_games, "train")[0])
    about = (game.template, game.task_type, game.goal.object_type, game.goal.target_type)
    return write_pack(tmp_path / "a.dmpack", "n", "expert/1", "", [Memory(*about, ("look",), "0" * 64, "g")])


def test_play_learns_if_told(pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    played = ["play", *ARGUMENTS, "--pack", "a.dmpack"]
    assert main(played) == 0 and main(["eval", *ARGUMENTS, "--pack", "a.dmpack", "--limit", "1", "--jobs", "1"]) == 0
    assert not (tmp_path / "data").exists()
    assert main([*played, "--learn"]) == 0
    assert main([*played, "--learn", "--overlay", "o.jsonl"]) == 0
    for path in (default_path(pack), Path("o.jsonl")):
        assert Overlay(path, pack).counts() == {pack.memories[0].id: (1, 0)}
    assert capsys.readouterr().out.count("memory: ") == 3


def test_what_needs_what(pack: Pack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", *ARGUMENTS, "--learn"]) == 2 and "give --pack too" in capsys.readouterr().err
    assert main(["play", *ARGUMENTS, "--pack", "a.dmpack", "--overlay", "o.jsonl"]) == 2
    assert "--overlay: is read and written with --learn" in capsys.readouterr().err
