"""Prompt styles: what a model is told first, in ALFWorld's own words, and what a bad style file is told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from duomem.core.chat.model import Message
from duomem.core.errors import UserError
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.world import ALFWORLD
from duomem.train.teachers.llm.reply import read_reply
from duomem.train.teachers.llm.style import STYLES, find_style

GOOD = 'version = 1\nsystem = "S"\nnew_game = "N "\nadmissible = " [{commands}]"\nanswer = "{thought}|{action}"\n'


@pytest.mark.parametrize("name", [name for name in STYLES if name != "student"])
def test_the_styles_duomem_brings(name: str) -> None:
    """Two examples; what they answer is read back as it was meant, and no old word is taught."""
    style = find_style(name)
    system, *messages = style.opening()
    assert system.role == "system" and len(style.examples) == 2
    assert [m.role for m in messages] == ["user", "assistant"] * (len(messages) // 2)
    turns = [turn for example in style.examples for turn in example.turns]
    replies = [read_reply(m.content) for m in messages[1::2]]
    assert [r.command for r in replies] == [t.action for t in turns]
    assert [bool(r.thought) for r in replies] == [name == "react"] * len(turns)
    assert sum("Your task is to: " in m.content for m in messages) == 2
    assert not any(re.search(r"\bput \w+ \d+ in", m.content) for m in messages)


def test_a_served_student_is_told_what_it_was_trained_on() -> None:
    style = find_style("student")
    assert style.opening() == [Message("system", ALFWORLD.system.strip())]
    assert style.seen("You see.", ("look",), first=True) == Message("user", "You see.")


def test_the_digest_is_of_all_that_is_told(tmp_path: Path) -> None:
    file, digests = tmp_path / "s.toml", set()
    for change in ("", 'stop = ["x"]', "examples = 1", "examples = 2"):
        file.write_text(GOOD + change)
        digests.add(find_style(str(file)).digest)
    file.write_text(GOOD.replace("S", "T"))
    digests.add(find_style(str(file)).digest)
    assert len(digests) == 5
    assert find_style(str(file)).record() == {"style": "s", "version": 1, "digest": find_style(str(file)).digest}


def test_what_is_told_of_a_game(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(GOOD)
    style = find_style(str(tmp_path / "s.toml"))
    assert style.opening() == [Message("system", "S")]
    assert style.seen("a {commands}", ("look", "go"), first=True) == Message("user", "N a {commands} [look, go]")
    assert replace(style, admissible="").seen("a", ("look",)) == Message("user", "a")


def test_the_examples_are_games_of_the_train_split(real_train_games: list[Path]) -> None:
    examples = find_style("react").examples
    wanted = {example.game: example for example in examples}
    played = 0
    for path in real_train_games:
        if not re.search("Cup-None-Cabinet-6|Mug-None-Desk-313", str(path)):
            continue
        game, env = load_game(path), AlfworldEnv()
        if (example := wanted.get(game.digest)) is None:
            continue
        assert env.reset(game).text == example.intro
        for turn in example.turns:
            last = env.step(turn.action)
            assert last.text == turn.observation
        played += last.won
    assert played == len(examples) == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("sytem = 1", "field sytem is unknown"),
        ("stop = [1]", "field stop"),
        ('stop = ["a", "a", "a", "a", "a"]', "field stop"),
        ("examples = -1", "fields version and examples"),
        ("examples = true", "fields version and examples"),
        ("examples = [", "not valid TOML"),
    ],
)
def test_a_bad_style(tmp_path: Path, change: str, field: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(f"{GOOD}{change}\n")
    with pytest.raises(UserError, match=f"s.toml: .*{field}"):
        find_style(str(file))


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("{commands}", "x", "admissible"),
        ("{action}", "x", "answer"),
        ('"S"', "1", "system"),
        ("version", "#", "version"),
    ],
)
def test_a_style_without_a_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError, match=rf"s\.toml: fields? {field}"):
        find_style(str(file))


def test_no_such_style(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--style haiku: is none of react, action"):
        find_style("haiku")
    with pytest.raises(UserError, match="no such prompt style"):
        find_style(str(tmp_path / "absent.toml"))
