"""Goals in people's words: read beside a game, told in its intro, refused where the file is wrong or missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from told import annotate

from duomem.core.errors import GameError, UserError
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.annotations import ANNOTATIONS_FILE, Goals, Task, read_annotations, tell
from duomem.device.alfworld.game import load_game

SENTENCES = ("bring the cup over here", "a cup belongs on the desk")


@pytest.fixture
def game(generated_games: Path, tmp_path: Path) -> Path:
    """A game with two annotations beside it."""
    path = tmp_path / "train" / "a-task" / "a-trial" / "game.tw-pddl"
    path.parent.mkdir(parents=True)
    shutil.copy(next(iter(sorted(generated_games.rglob("game.tw-pddl")))), path)
    annotate(path, [{"task_desc": f" {sentence}\n"} for sentence in SENTENCES])
    return path


def test_each_sentence_is_a_task_of_its_own(game: Path) -> None:
    assert read_annotations(game) == SENTENCES
    tasks = Goals("human", None).tasks([game])
    assert [task.load().task for task in tasks] == list(SENTENCES)
    assert [task.load().goal_source for task in tasks] == ["human:0", "human:1"]
    assert Goals("human", 1).tasks([game]) == [Task(game, 1)]
    assert Goals().tasks([game]) == [Task(game)] and Task(game).load().goal_source == "template"
    assert [str(Goals()), str(Goals("human")), str(Goals("human", None))] == ["template", "human:0", "human:all"]


def test_only_the_sentence_changes(game: Path) -> None:
    template, told = Task(game).load(), Task(game, 1).load()
    assert told.template == template.task and told.digest == template.digest
    intros = [AlfworldEnv().reset(each).text for each in (template, told)]
    assert intros[1] == intros[0].replace(template.task, SENTENCES[1])
    env = AlfworldEnv()
    env.reset(told)
    assert [env.step(command).won for command in told.walkthrough][-1]


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        (None, "turk_annotations.anns "),
        ([], "turk_annotations.anns "),
        ([{"task_desc": "x"}] * 101, "turk_annotations.anns "),
        ([{"task_desc": "x"}, {}], r"turk_annotations.anns\[1\].task_desc"),
        ([{"task_desc": "x" * 501}], r"turk_annotations.anns\[0\].task_desc"),
        ([{"task_desc": "\x1b\x00 "}], r"turk_annotations.anns\[0\].task_desc"),
        ([{"task_desc": 3}], r"turk_annotations.anns\[0\].task_desc"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(game: Path, rows: Any, field: str) -> None:
    annotate(game, rows)
    with pytest.raises(GameError, match=f"{ANNOTATIONS_FILE}: field {field}"):
        read_annotations(game)


def test_a_game_without_annotations_is_one_clear_line(game: Path) -> None:
    with pytest.raises(GameError, match="has 2 annotations, none of number 2: give --annotation 0 to 1, or all"):
        Goals("human", 2).tasks([game])
    (game.parent / ANNOTATIONS_FILE).write_bytes(b"\xff{")
    with pytest.raises(UserError, match=rf"{ANNOTATIONS_FILE}: annotations is not valid JSON"):
        read_annotations(game)
    (game.parent / ANNOTATIONS_FILE).unlink()
    with pytest.raises(GameError, match=r"no such file: this game has no goals in people's words; .*--goals template"):
        Goals("human").tasks([game])
    with pytest.raises(GameError, match="'mine' are none of template, human"):
        Goals("mine")


def test_words_of_ones_own(game: Path) -> None:
    own = tell(load_game(game), "  do it\n now ")
    assert (own.task, own.goal_source) == ("do it now", "own")
    assert tell(load_game(game), "\x08 put\x1b it down").task == "put it down"
    for wrong in ("", " \n", "x" * 501, "\x07"):
        with pytest.raises(GameError, match="a goal must be a line"):
            tell(load_game(game), wrong)
