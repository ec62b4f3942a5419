"""A world that says little: what it gets from World, and how worlds are found by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.device.agent.prompt import PromptTokenizer, Transcript, head
from duomem.device.alfworld.world import ALFWORLD
from duomem.device.world.env import Env
from duomem.device.world.game import JsonGame
from duomem.device.world.world import World
from duomem.device.world.worlds import load_world, named_world


class Plain(World):
    """Says what it must."""

    name = "plain"
    system = "Play.\n"

    def make_env(self) -> Env:
        """None is played here."""
        raise NotImplementedError


PLAIN = Plain()
INTRO = "A  room.\n\nIt is dark.\n\nYour task is to: light it."


def _write(root: Path, split: str = "train", **fields: object) -> Path:
    file = root / split / "find-lamp-cellar" / "1" / "game.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"world": "plain", "task_type": "find", "goal": "light it.", "oil": 3, **fields}))
    return file


def test_its_prompt_is_the_intro_and_the_goal(byte_tokenizer: Path) -> None:
    assert (
        head(INTRO, ["do it. 1. press;"], PLAIN) == "Memory: do it. 1. press;\nTask: light it.\nA room. It is dark.\n>"
    )
    transcript = Transcript(INTRO, world=PLAIN)
    assert transcript.turn("press", " Nothing\n happens. ") == "Nothing happens.\n>"
    tokenizer = PromptTokenizer(byte_tokenizer, world=PLAIN)
    assert tokenizer.decode(tokenizer.system()) == "Play.\n"
    whole = [t for s in tokenizer.episode(INTRO, [("press", "Light.")]) for t in s.tokens]
    assert tokenizer.decode(whole) == "Play.\nTask: light it.\nA room. It is dark.\n> press\n"


def test_its_games_are_json_files(tmp_path: Path) -> None:
    file = _write(tmp_path)
    assert PLAIN.resolve_root(tmp_path) == tmp_path and PLAIN.find_games(tmp_path, "train") == [file]
    assert PLAIN.describe(file) == ("find", "cellar") and PLAIN.find_games(tmp_path, "test") == []
    game = PLAIN.load_game(file)
    assert isinstance(game, JsonGame) and game.data["oil"] == 3 and len(game.digest) == 64
    assert (game.group, game.split, game.triple) == ("find-lamp-cellar", "train", ("find", "", ""))
    assert (game.task, game.template, game.goal_source, game.world) == ("light it.", "light it.", "template", "plain")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"world": "other"}, "field world is not 'plain'"),
        ({"task_type": "a b"}, "field task_type"),
        ({"task_type": 3}, "field task_type"),
        ({"goal": ""}, "field goal"),
        ({"goal": "a\x1bb"}, "field goal"),
        ({"goal": "a" * 501}, "field goal"),
    ],
)
def test_a_damaged_game_is_refused(tmp_path: Path, fields: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        PLAIN.load_game(_write(tmp_path, **fields))


def test_what_it_does_not_bring_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no games of the world plain here"):
        PLAIN.resolve_root(tmp_path)
    with pytest.raises(UserError, match="'dev' is not a split of plain"):
        PLAIN.find_games(tmp_path, "dev")
    with pytest.raises(UserError, match="brings no expert"):
        PLAIN.expert(None, INTRO)
    with pytest.raises(UserError, match="not a game of this world"):
        PLAIN.goal("Nothing to do.")


def test_worlds_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    assert load_world() is load_world("alfworld") is ALFWORLD
    assert load_world("twc").name == "twc"  # without its Java, which starts with the first game
    own = load_world("test_world:PLAIN")
    assert own.name == "plain" and named_world("plain", "test_world:PLAIN", "t.jsonl") is own


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mars", "no such world: known are alfworld, twc"),
        ("no_such_module:WORLD", "cannot load it"),
        ("test_world:NOTHING", "cannot load it"),
        ("test_world:INTRO", "is no World"),
    ],
)
def test_wrong_names(name: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(UserError, match=why):
        load_world(name)


def test_a_file_never_names_a_module_to_run() -> None:
    with pytest.raises(UserError, match=r"t\.jsonl: played in the world 'test_world:PLAIN', none of duomem's"):
        named_world("test_world:PLAIN", None, "t.jsonl")
    with pytest.raises(UserError, match="not in alfworld"):
        named_world("plain", "alfworld", "t.jsonl")
