"""`duomem games` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.cli.main import main


def test_list(generated_games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["games", "list", "--games", str(generated_games)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"games in {generated_games}"
    assert lines[1].startswith("  train: 18 games, ")
    assert lines[2].split() == ["3", "look_at_obj_in_light"]


def test_generate_twice(generated_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("made 8 games, 8 in all", "all 8 games are there, nothing to do"):
        arguments = ["--out", str(tmp_path), "--train", "4", "--seen", "2", "--unseen", "2", "--seed", "5"]
        assert main(["games", "generate", *arguments]) == 0
        assert capsys.readouterr().out == f"{tmp_path}: {said}\n"


@pytest.mark.parametrize("count", ["-1", "many", "1e9", "1000001"])
def test_bad_count(count: str) -> None:
    assert main(["games", "generate", "--train", count]) == 2
