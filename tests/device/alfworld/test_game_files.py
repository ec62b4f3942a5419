"""Where games are looked for, and what a user is told when there are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.device.alfworld.game_files import DEFAULT_ROOT, describe_path, find_games, resolve_root


def test_finds_both_layouts(generated_games: Path) -> None:
    outer, inner = (find_games(root, "train") for root in (generated_games, generated_games / "json_2.1.1"))
    assert outer == inner == sorted(outer) and len(outer) == 18


def test_absent_and_unknown_split(tmp_path: Path) -> None:
    assert find_games(tmp_path, "valid_seen") == []
    with pytest.raises(UserError, match="choose one of train, valid_seen, valid_unseen"):
        find_games(tmp_path, "test")


def test_leaves_out_what_alfworld_leaves_out(a_game: Path, tmp_path: Path) -> None:
    kept = tmp_path / "train" / a_game.parts[-3] / "trial_1" / a_game.name
    for folder in (
        kept.parent,
        *(
            tmp_path / "train" / name / "trial_1"
            for name in (
                "pick_and_place_with_movable_recep-Fork-Bowl-Fridge-1",
                "pick_and_place_simple-AppleSliced-None-Fridge-1",
            )
        ),
    ):
        folder.mkdir(parents=True)
        shutil.copy(a_game, folder)
    unsolvable = tmp_path / "train" / a_game.parts[-3] / "trial_2" / a_game.name
    unsolvable.parent.mkdir()
    unsolvable.write_text(a_game.read_text().replace('"solvable": true', '"solvable": false'))
    assert find_games(tmp_path, "train") == [kept]


def test_order_of_roots(generated_games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    for told in ("alfworld-download", "ALFWORLD_DATA", "duomem games generate", str(DEFAULT_ROOT)):
        with pytest.raises(UserError, match=told):
            resolve_root(None)
    shutil.copytree(generated_games, DEFAULT_ROOT)
    assert resolve_root(None) == DEFAULT_ROOT
    monkeypatch.setenv("ALFWORLD_DATA", str(generated_games))
    assert resolve_root(None) == generated_games
    assert resolve_root(DEFAULT_ROOT) == DEFAULT_ROOT
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"absent: no games here \(\$ALFWORLD_DATA\)"):
        resolve_root(None)
    with pytest.raises(UserError, match="--games"):
        resolve_root(tmp_path)


def test_describe_path() -> None:
    assert describe_path(Path("train/look_at_obj_in_light-CD-None-DeskLamp-304/t/game.tw-pddl")) == (
        "look_at_obj_in_light",
        "304",
    )
    assert describe_path(Path("elsewhere/t/game.tw-pddl")) == ("unknown", "")
