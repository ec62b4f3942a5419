"""An episode shown while it is played: on a terminal, in lines, and to a person who types."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from duomem.core.chat.faults import NoAnswer
from duomem.device.agent.agent import Episode
from duomem.device.agent.choice import Choice
from duomem.device.agent.person import Hint, play_person
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.watch import view as module
from duomem.device.watch.lines import Lines
from duomem.device.watch.numbered import in_order
from duomem.device.watch.typed import read_command
from duomem.device.watch.view import Screen, open_view
from duomem.device.world.env import Observation


@pytest.fixture
def game(generated_games: Path) -> Game:
    return load_game(find_games(generated_games, "train")[0])


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)


def _written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _type(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """What a person types; then the input ends."""
    left: Iterator[str] = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)


def _play(game: Game, view: Screen | Lines) -> Episode:
    episode = play_person(
        game, view.ask, on_start=view.on_start, on_step=view.on_step, on_second_look=view.on_second_look, max_steps=9
    )
    return view.end(episode, "")


def test_a_person_plays_on_a_terminal(game: Game, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    _type(monkeypatch, "inventory", "1", "q")
    with Screen(console, "person", 9, delay=5, asks=True) as screen:
        episode = _play(game, screen)
    assert episode.commands[0] == "inventory" and episode.ended == "unanswered" and episode.seconds < 5
    written = _written(console)
    assert "You are not carrying anything." in written and "stopped in 2 steps" in written
    assert "step 2 of 9" in written


def test_what_showing_takes_is_not_the_players_time(game: Game, console: Console) -> None:
    with Screen(console, "m", 9, delay=0.2) as screen:
        screen.on_start("Your task is to: look.", ())
        screen.on_step("look", _observation("You see."), None)
        episode = play_person(game, _stop)
        assert screen.end(episode, "").seconds <= episode.seconds - 0.4


def _stop(*asked: object) -> str:
    raise NoAnswer("stopped")


def _observation(text: str) -> Observation:
    return Observation(text, ("look", "take mug 10", "take mug 2"), False, False)


def test_lines_are_what_was_told(
    game: Game, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _type(monkeypatch, "inventory")
    episode = _play(game, Lines(colours=False))
    out = capsys.readouterr().out
    assert out.startswith(episode.trajectory.intro)
    assert "\n  1 > inventory\n    You are not carrying anything.\n" in out and "\nstopped in 1 steps, " in out
    assert all(c.isprintable() or c == "\n" for c in out)


def test_lines_at_the_end_are_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for at_once in (True, False):
        lines = Lines(False, at_once)
        lines.on_start("intro", ())
        lines.recall(["memory\x1b[2J"])
        lines.step("look\x07", "a\nb\x9b")
        before = capsys.readouterr().out
        lines.say_end("won", "in 1 steps")
        said[at_once] = before + capsys.readouterr().out
        assert bool(before) == at_once
    assert said[True] == said[False] == "intro\nmemory: memory?[2J\n  1 > look?\n    a\nb?\nwon in 1 steps\n"


def test_a_hint_is_told_in_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _type(monkeypatch, "3")
    hint = Hint("look", Choice((("look", 0.9), ("take…", 0.1)), (), 1.0, 1, 1))
    assert Lines(False).ask(_observation(""), hint) == "take mug 10"
    out = capsys.readouterr().out
    assert "  2 take mug 2\n  3 take mug 10\n" in out and "hint: look 90.0%" in out


def test_commands_are_in_the_order_people_count_in() -> None:
    assert in_order(["go to a 10", "look", "go to a 2", "go to b 1"]) == [
        "go to a 2",
        "go to a 10",
        "go to b 1",
        "look",
    ]


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (["2"], "b"),
        (["0", "3", "99999", "1"], "99999"),
        (["", "  eat   mug 1 "], "eat mug 1"),
        (["x" * 201, "look\x1b", "look"], "look"),
    ],
)
def test_what_a_person_types(typed: list[str], command: str) -> None:
    left = iter(typed)
    assert read_command(["a", "b"], "", lambda prompt: next(left)) == command


@pytest.mark.parametrize("typed", ["q", "Quit", "exit"])
def test_a_person_may_stop(typed: str) -> None:
    with pytest.raises(NoAnswer):
        read_command(["a"], "", lambda prompt: typed)


def test_where_the_output_is_no_terminal_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_view("m", 9) as view:
        assert isinstance(view, Lines)
    monkeypatch.setattr(module.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with open_view("m", 9) as view:
        assert isinstance(view, Screen)
    with open_view("m", 9, asks=True) as view:
        assert isinstance(view, Lines)
    with open_view("m", 9, at_once=False) as view:
        assert isinstance(view, Lines)
    monkeypatch.setenv("TERM", "dumb")
    with open_view("m", 9) as view:
        assert isinstance(view, Lines)
