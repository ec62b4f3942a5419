"""Held-out games and floor plans: the same ones always, whole, and every kind of scene among them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from episodes import write_episodes

from duomem.core.errors import TrainError, UserError
from duomem.core.files import sha256_file
from duomem.core.scene import floor_plan
from duomem.core.trajectory import Trajectory, read_trajectories
from duomem.memory_packs.memory import Memory
from duomem.train.holdout import VALIDATED, HoldOut, games_held_out, hold_out, read_hold_out


@pytest.fixture
def played(tmp_path: Path) -> list[Trajectory]:
    """600 games in 40 floor plans of two kinds, some lost."""
    scenes = [*range(1, 21), *range(301, 321)]
    episodes = read_trajectories(write_episodes(tmp_path / "t.jsonl", count=600))
    return [replace(t, group=f"pick-Mug-None-Desk-{scenes[i % 40]}", won=i % 7 > 0) for i, t in enumerate(episodes)]


def test_shares(played: list[Trajectory]) -> None:
    held = hold_out(played, 0.1, 0.2)
    assert len(held.scenes) == 8 and sum(int(scene) > 300 for scene in held.scenes) == 4
    assert len(held.games) == 48  # a tenth of the games in the other 32 scenes
    assert not any(floor_plan(t.group) in held.scenes for t in played if t.game in held.games)
    assert hold_out(played, 0, 0) == HoldOut(frozenset(), frozenset())


def test_the_same_ones_in_any_order_and_with_more_episodes_of_a_game(played: list[Trajectory]) -> None:
    mixed = [replace(t, seed=1, player="other/1") for t in played] + played
    random.Random(3).shuffle(mixed)
    assert hold_out(mixed, 0.1, 0.2) == hold_out(played, 0.1, 0.2)


def test_what_a_folder_tells_was_held_out(tmp_path: Path) -> None:
    held = HoldOut(frozenset({"b", "a"}), frozenset({"301"}))
    assert read_hold_out(tmp_path) == HoldOut(frozenset(), frozenset())
    for record in ({"held_out": held.record(), "steps": 3}, {"steps": 3}):
        (tmp_path / "duomem.json").write_text(json.dumps(record))
        assert read_hold_out(tmp_path) == (held if "held_out" in record else HoldOut(frozenset(), frozenset()))
    for bad in ([], {"held_out": 1}, {"held_out": {"games": "a"}}, {"held_out": {"scenes": [1]}}):
        (tmp_path / "duomem.json").write_text(json.dumps(bad))
        with pytest.raises(UserError, match=r"duomem\.json: field held_out does not list games and scenes"):
            read_hold_out(tmp_path)


def test_what_is_validated(played: list[Trajectory]) -> None:
    """Won episodes that are held out, one a game, not too many."""
    held = hold_out(played + played, 0.02, 0.5)
    found = held.validation(played + played)
    assert len(found["scenes"]) == VALIDATED and 0 < len(found["games"]) <= 6
    for kind, episodes in found.items():
        assert len({t.game for t in episodes}) == len(episodes)
        assert all(t.won and held.has(t.game, t.group) for t in episodes)
        assert all((floor_plan(t.group) in held.scenes) == (kind == "scenes") for t in episodes)
    assert hold_out(played, 0, 0).validation(played) == {}
    assert list(hold_out(played, 0, 0.1).validation(played)) == ["scenes"]


def test_memories_of_what_is_held_out() -> None:
    """One that other games support too stays, as theirs."""
    held = HoldOut(frozenset({"a"}), frozenset({"301"}))
    one = Memory("put a mug in desk.", "pick", "mug", "desk", ("look",), "a", "pick-Mug-None-Desk-1")
    both = replace(one, steps=("go",), others=(("b", "pick-Mug-None-Desk-301"), ("c", "pick-Mug-None-Desk-2")))
    other = replace(one, game="d")
    assert held.memories([one, both, replace(one, game="d", group="pick-Mug-None-Desk-301"), other]) == [
        replace(both, game="c", group="pick-Mug-None-Desk-2", others=()),
        other,
    ]


def test_games_held_out_are_those_the_record_names(tmp_path: Path) -> None:
    games = []
    for number, scene in enumerate((301, 302, 303)):
        games.append(tmp_path / f"pick_and_place_simple-Mug-None-Desk-{scene}" / "trial" / "game.tw-pddl")
        games[-1].parent.mkdir(parents=True)
        games[-1].write_text(str(number))
    with pytest.raises(TrainError, match=r"duomem.json: field held_out names none of these games"):
        games_held_out(tmp_path, games, 2)
    record = HoldOut(frozenset([sha256_file(games[0])]), frozenset(["303"])).record()
    (tmp_path / "duomem.json").write_text(json.dumps({"held_out": record}))
    assert games_held_out(tmp_path, games, 2) == [games[2], games[0]]
    assert games_held_out(tmp_path, games, 1) == [games[2]]
