"""Files that others wrote are taken where the games say the same, and every other episode is told and left out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main
from duomem.core.errors import FileError, TrajectoryError
from duomem.core.trajectory import Trajectory, read_trajectories
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.train.formats.convert import Imported, import_trajectories
from duomem.train.formats.find_game import GameFinder
from duomem.train.teachers.teach import play_expert

Row = dict[str, Any]
SYSTEM = {"role": "system", "content": "Household games. Your task is to: help."}


@pytest.fixture(scope="module")
def games(generated_games: Path) -> list[Path]:
    return find_games(generated_games, "train")


@pytest.fixture(scope="module")
def played(games: list[Path]) -> list[Trajectory]:
    """Of different task types."""
    return [play_expert(load_game(path), {}, "train", 50) for path in games[::6]]


def _messages(t: Trajectory) -> list[Row]:
    turns = [{"role": "user", "content": t.intro}]
    for action, seen in t.turns():
        turns += [{"role": "assistant", "content": action}, {"role": "user", "content": seen}]
    return turns


def _import(
    tmp_path: Path, rows: list[Row], games: list[Path], name: str = "chat"
) -> tuple[Imported, list[Trajectory], list[str]]:
    file, out, told = tmp_path / "in", tmp_path / "out.jsonl", []
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = import_trajectories(file, out, name, lambda: GameFinder(games, "train", "llm:other"), told.append)
    return found, list(read_trajectories(out)), told


def _as_other(played: list[Trajectory]) -> list[Trajectory]:
    return [replace(t, player="llm:other") for t in played]


def test_games_are_found_by_room_and_goal(tmp_path: Path, games: list[Path], played: list[Trajectory]) -> None:
    found, taken, told = _import(tmp_path, [{"messages": [SYSTEM, *_messages(t)]} for t in played], games)
    assert (found.replayed, found.won, told) == (3, 3, []) and taken == _as_other(played)


@pytest.mark.parametrize(
    "naming",
    [
        lambda path, t: {"game_file": str(path)},
        lambda path, t: {"game_file": f"json_2.1.1/train/{path.parent.parent.name}/{path.parent.name}"},
        lambda path, t: {"metadata": {"id": path.parent.name}},
        lambda path, t: {"extra": {"gamefile": f"C:\\data\\{path.parent.name}\\game.tw-pddl"}},
        lambda path, t: {"id": t.game},
    ],
)
def test_games_are_found_by_what_names_them(
    tmp_path: Path, games: list[Path], played: list[Trajectory], naming: Callable[[Path, Trajectory], Row]
) -> None:
    """The first observation, cut to the room and a goal of the writer's own, tells no game."""
    rows = []
    for path, t in zip(games[::6], played, strict=True):
        first, *rest = _messages(t)
        first = {"role": "user", "content": first["content"].replace(t.goal, "do as you like")}
        rows.append({**naming(path, t), "messages": [first, *rest]})
    found, taken, told = _import(tmp_path, rows, games)
    assert found.replayed == 3 and not told
    assert {(t.goal, t.goal_source) for t in taken} == {("do as you like", "own")}
    assert [(t.game, t.won, t.template_goal) for t in taken] == [(t.game, True, t.template_goal) for t in played]


def _old_dialect(t: Trajectory) -> Row:
    """As AgentTraj tells it: ReAct, the words of ALFWorld before 0.4.0, instructions first, actions listed last."""
    turns = [{"from": "human", "loss": None, "value": "Interact with a household."}, {"from": "gpt", "value": "OK"}]
    for message in _messages(t):
        text = re.sub(
            "^You arrive at [^.]*[.] ", "", message["content"].removeprefix("-= Welcome to TextWorld, ALFRED! =-\n\n")
        )
        text = re.sub("You move the (.*) to the", r"You put the \1 in/on the", text)
        if message["role"] == "assistant":
            command = re.sub("^move (.*) to (.*)$", r"put \1 in/on \2", text)
            turns.append({"from": "gpt", "loss": True, "value": f"Thought:\nI go on.\n\nAction:\n{command}"})
        else:
            turns.append({"from": "human", "loss": None, "value": f"Observation: {text}\nAVAILABLE ACTIONS: look"})
    return {"item_id": "alfworld_7", "conversations": turns}


def test_the_words_of_older_versions(tmp_path: Path, games: list[Path], played: list[Trajectory]) -> None:
    found, taken, told = _import(tmp_path, [_old_dialect(t) for t in played], games, "eto")
    assert found.replayed == 3 and not told
    thinking = [replace(t, steps=tuple(replace(s, thought="I go on.") for s in t.steps)) for t in _as_other(played)]
    assert taken == thinking


def test_atif_of_others(tmp_path: Path, games: list[Path], played: list[Trajectory]) -> None:
    for number, t in enumerate(played):
        steps: list[Row] = [{"step_id": 1, "source": "system", "message": "x"}, {"source": "user", "message": t.intro}]
        for action, seen in t.turns():
            text = [{"type": "text", "text": seen}]
            step = {"source": "agent", "message": "", "observation": {"results": [{"content": text}]}}
            call = {"tool_call_id": "1", "function_name": "play", "arguments": {"action": action}}
            steps.append({**step, "tool_calls": [call]} if number else {**step, "message": f"Action: {action}"})
        document = {"schema_version": "ATIF-v1.5", "session_id": "s", "agent": {}, "steps": steps}
        folder = tmp_path / "in" / str(number)
        folder.mkdir(parents=True)
        (folder / "trajectory.json").write_text(json.dumps(document))
    found = import_trajectories(
        tmp_path / "in", tmp_path / "out", "atif", lambda: GameFinder(games, "train", "llm:other")
    )
    assert found.replayed == 3 and list(read_trajectories(tmp_path / "out")) == _as_other(played)


def _with(messages: list[Row], number: int, text: Any) -> list[Row]:
    return [*messages[:number], {**messages[number], "content": text}, *messages[number + 1 :]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: _with(m, 4, "On the moon, you see a cheese 1."), "after command 2, "),
        (lambda m: _with(m, 1, "sing"), "after command 1, 'sing', the game says 'Nothing happens.', the file"),
        (lambda m: _with(m, 0, m[0]["content"].replace("a ", "a blue ")), "no train game of these"),
        (lambda m: _with(m, 0, m[0]["content"].replace("Your task is to: ", "Your task is to: not ")), "no train game"),
        (lambda m: _with(m, 0, "Solve for x."), 'no message of the user has "Your task is to:"'),
        (lambda m: _with(m, 2, None), "message 3: is no text"),
        (lambda m: [m[0], m[2]], "do not take turns"),
        (lambda m: [{"role": "user"}], "message 1: is no text"),
        (lambda m: m[:1] + m[1:3] * 3000, "more than 2000 messages"),
        (lambda m: "messages", "field messages is not a list of objects"),
        (lambda m: None, "field messages is not a list of objects"),
    ],
)
def test_what_is_left_out(
    tmp_path: Path, games: list[Path], played: list[Trajectory], change: Callable[[list[Row]], Any], said: str
) -> None:
    rows = [{"messages": _messages(played[0])}, {"messages": change(_messages(played[1]))}]
    found, taken, [line] = _import(tmp_path, rows, games)
    assert (found.replayed, found.refused) == (1, 1) and taken == _as_other(played)[:1]
    assert line.startswith(f"{tmp_path / 'in'}: line 2: ") and said in line


def test_a_goal_that_is_none(tmp_path: Path, games: list[Path], played: list[Trajectory]) -> None:
    messages = _messages(played[0])
    first = messages[0]["content"].replace(played[0].goal, "x" * 501)
    rows = [{"id": played[0].game, "messages": _with(messages, 0, first)}, {"messages": messages}]
    found, _, [line] = _import(tmp_path, rows, games)
    assert found.replayed == 1 and "line 1: a goal must be a line of 1 to" in line


@pytest.mark.parametrize("end", ["", "\n", "\n{"])
def test_a_last_line_without_an_end(tmp_path: Path, games: list[Path], played: list[Trajectory], end: str) -> None:
    (tmp_path / "in").write_text("\n".join(json.dumps({"messages": _messages(t)}) for t in played) + end)
    args = (tmp_path / "in", tmp_path / "out", "chat", lambda: GameFinder(games, "train", "x"))
    if end == "\n{":
        with pytest.raises(FileError, match="in: the last line of this file of chat messages is not valid JSON"):
            import_trajectories(*args)
    else:
        assert import_trajectories(*args).replayed == 3


@pytest.mark.parametrize(
    "facts", [3, {}, {"steps": []}, {"steps": [{}]}, {"schema": 2, "steps": [{"admissible": [3]}]}, {"steps": "x"}]
)
def test_our_field_that_lies(tmp_path: Path, facts: Any) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "duomem": facts}
    with pytest.raises(TrajectoryError, match="none of its 1 episodes"):
        _import(tmp_path, [row], [])
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(("name", "text"), [("chat", "[]\n"), ("eto", "[3]"), ("eto", "[" * 10**5), ("atif", "{")])
def test_files_that_are_none(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "in").write_text(text)
    with pytest.raises(FileError, match=str(tmp_path / "in")):
        import_trajectories(tmp_path / "in", tmp_path / "out", name, lambda: GameFinder([], "train", "x"))


def test_the_command(
    tmp_path: Path, generated_games: Path, played: list[Trajectory], capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "in", tmp_path / "out"
    bad = _with(_messages(played[1]), 2, "On the moon,\x1b[31m you see a cheese 1.")
    rows = [{"messages": _messages(played[0])}, *[{"messages": bad}] * 12]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["trajectories", "import", str(file), str(out), "--format", "chat", "--games", str(generated_games)]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 1 episodes, 1 won; 0 as duomem wrote them, 1 played again, 12 left out\n"
    lines = said.err.splitlines()
    assert len(lines) == 11 and lines[-1] == "duomem: left out: 2 more" and "\x1b" not in said.err
    assert [t.player for t in read_trajectories(out)] == ["import:chat"]
    assert main([*words, "--split", "valid_seen"]) == 1 and "none of its 13 episodes" in capsys.readouterr().err


def test_the_split_is_that_of_the_games(tmp_path: Path, generated_games: Path) -> None:
    """Not what a file says: nothing learns from a validation game, whoever says that it is of train."""
    games = find_games(generated_games, "valid_seen")
    t = play_expert(load_game(games[0]), {}, "train", 50)
    file, out = tmp_path / "in", tmp_path / "out"
    file.write_text(json.dumps({"messages": _messages(t), "split": "train"}) + "\n")
    import_trajectories(file, out, "chat", lambda: GameFinder(games, "valid_seen", "x"))
    assert [t.split for t in read_trajectories(out)] == ["valid_seen"]
