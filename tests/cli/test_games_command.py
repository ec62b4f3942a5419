"""`duomem games` as a user types it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from duomem.cli import games


def _run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    games.add_parser(parser.add_subparsers())
    args = parser.parse_args(["games", *words])
    args.func(args)


def test_list(generated_games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run("--games", str(generated_games))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"games in {generated_games}"
    assert lines[1].startswith("  train: 18 games, ")
    assert lines[2].split() == ["3", "look_at_obj_in_light"]


def test_generate_twice(generated_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("made 8 games, 8 in all", "all 8 games are there, nothing to do"):
        _run("generate", "--out", str(tmp_path), "--train", "4", "--seen", "2", "--unseen", "2", "--seed", "5")
        assert capsys.readouterr().out == f"{tmp_path}: {said}\n"


@pytest.mark.parametrize("count", ["-1", "many", "1e9", "1000001"])
def test_bad_count(count: str) -> None:
    with pytest.raises(SystemExit):
        _run("generate", "--train", count)
