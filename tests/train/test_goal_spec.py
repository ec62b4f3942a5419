"""Every sentence of ALFWorld's goal library is understood, and each as what it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import SPLITS, find_games
from duomem.train.teachers.goal_spec import TREATMENTS, GoalSpec, parse_goal

CLEAN, HEAT, COOL = TREATMENTS.items()


@pytest.mark.parametrize(
    ("sentence", "goal"),
    [
        ("put a mug in desk.", GoalSpec("mug", receptacle="desk")),
        ("put some mug on desk.", GoalSpec("mug", receptacle="desk")),
        ("look at book under the desklamp.", GoalSpec("book", lamp="desklamp")),
        ("examine the book with the floorlamp.", GoalSpec("book", lamp="floorlamp")),
        ("put two cd in safe.", GoalSpec("cd", 2, receptacle="safe")),
        ("find two cd and put them in safe.", GoalSpec("cd", 2, receptacle="safe")),
        ("put a clean mug in shelf.", GoalSpec("mug", treatments=(CLEAN,), receptacle="shelf")),
        ("clean some mug and put it in shelf.", GoalSpec("mug", treatments=(CLEAN,), receptacle="shelf")),
        ("put a hot egg in fridge.", GoalSpec("egg", treatments=(HEAT,), receptacle="fridge")),
        ("heat some egg and put it in fridge.", GoalSpec("egg", treatments=(HEAT,), receptacle="fridge")),
        ("put a cool egg in microwave.", GoalSpec("egg", treatments=(COOL,), receptacle="microwave")),
        ("cool some egg and put it in microwave", GoalSpec("egg", treatments=(COOL,), receptacle="microwave")),
    ],
)
def test_templates(sentence: str, goal: GoalSpec) -> None:
    assert parse_goal(sentence) == goal


@pytest.mark.parametrize("sentence", ["", ".", "put", "sing a song.", "put a mug in desk. and a pen in safe."])
def test_other_sentences(sentence: str) -> None:
    with pytest.raises(UserError, match="goal sentence"):
        parse_goal(sentence)


def _check(paths: list[Path]) -> None:
    """What the sentence is read as is what the game's own goal formula says."""
    for game in map(load_game, paths):
        goal = parse_goal(game.task)
        assert game.goal.object_type == goal.object, game.task
        assert (game.goal.task_type == "pick_two_obj_and_place") == (goal.count == 2)
        assert (game.goal.task_type == "look_at_obj_in_light") == (goal.lamp is not None)
        treated = {
            "pick_clean_then_place_in_recep": "clean",
            "pick_heat_then_place_in_recep": "heat",
            "pick_cool_then_place_in_recep": "cool",
        }
        assert [verb for verb, _ in goal.treatments] == [*filter(None, [treated.get(game.goal.task_type)])], game.task
        if goal.receptacle is not None:
            assert game.goal.target_type == goal.receptacle, game.task


def test_generated_games(generated_games: Path) -> None:
    _check([path for split in SPLITS for path in find_games(generated_games, split)])


def test_real_games(real_games: list[Path]) -> None:
    _check(real_games)
