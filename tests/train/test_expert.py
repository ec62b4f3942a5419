"""The expert wins, and it wins by what a player sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import SPLITS, find_games
from duomem.device.alfworld.world import ALFWORLD
from duomem.device.world.env import Observation
from duomem.train.teachers import teach as teach_module
from duomem.train.teachers.expert import Expert
from duomem.train.teachers.goal_spec import parse_goal
from duomem.train.teachers.priors import combine, count_places
from duomem.train.teachers.teach import play_expert


def _wins(paths: list[Path], priors: dict[str, float], split: str) -> float:
    return sum(play_expert(load_game(path), priors, split, 50).won for path in paths) / len(paths)


@pytest.fixture(scope="module")
def priors(generated_games: Path) -> dict[str, float]:
    return combine(map(count_places, find_games(generated_games, "train")))


@pytest.mark.parametrize("split", SPLITS)
def test_wins_generated_games(generated_games: Path, priors: dict[str, float], split: str) -> None:
    assert _wins(find_games(generated_games, split), priors, split) >= 0.95


def test_wins_real_games(real_games: list[Path], priors: dict[str, float]) -> None:
    """With priors of generated scenes even; those of the real train games do better."""
    assert len(real_games) == 140
    assert _wins(real_games, priors, "valid_seen") >= 0.95


def _parts(value: Any, seen: set[int]) -> list[Any]:
    """Everything reachable from a value."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    inner = list(vars(value).values()) if hasattr(value, "__dict__") else []
    if isinstance(value, dict):
        inner += [*value, *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner += value
    return [value, *(part for i in inner for part in _parts(i, seen))]


def _text_alone(observation: Observation) -> Observation:
    return Observation(observation.text, (), False, False)


def test_sees_observations_only(
    generated_games: Path, priors: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that it needs, and keeps, is the intro, its own commands and the texts they brought."""
    said: list[str] = []
    told: list[str] = []

    class Env(AlfworldEnv):
        def _observe(self, text: str) -> Observation:
            observation = super()._observe(text)
            said.append(observation.text)
            return observation

    class Spied(Expert):
        def __init__(self, *arguments: Any) -> None:
            intro, known, goal = arguments
            assert type(intro) is str and known == priors and goal == parse_goal(ALFWORLD.goal(intro))
            told.append(intro)
            super().__init__(*arguments)
            experts.append(self)

        def act(self, observation: Observation, /) -> str:
            return super().act(_text_alone(observation))

        def observe(self, command: str, observation: Observation, /) -> None:
            assert type(command) is str
            told.append(observation.text)
            super().observe(command, _text_alone(observation))

    experts: list[Expert] = []
    monkeypatch.setattr(teach_module, "AlfworldEnv", Env)
    monkeypatch.setattr(teach_module, "Expert", Spied)
    for path in find_games(generated_games, "valid_seen"):
        assert play_expert(load_game(path), priors, "valid_seen", 50).won
    assert told == said and len(experts) == 6
    for part in _parts(experts, set()):
        assert not isinstance(part, (Game, AlfworldEnv, Observation, Path))


def test_plays_alike_without_walkthrough_and_with_other_digests(generated_games: Path, tmp_path: Path) -> None:
    """Neither the stored solution nor the file's name or bytes reach it."""
    for path in find_games(generated_games, "valid_unseen"):
        fields = json.loads(path.read_bytes())
        (tmp_path / "a" / "b").mkdir(parents=True, exist_ok=True)
        bare = tmp_path / "a" / "b" / path.name
        bare.write_text(json.dumps({**fields, "walkthrough": None}, indent=1))
        first, second = (play_expert(load_game(p), {}, "valid_unseen", 50) for p in (path, bare))
        assert first.steps == second.steps and first.game != second.game


def test_an_unreadable_goal_names_the_game(generated_games: Path, tmp_path: Path) -> None:
    path = find_games(generated_games, "train")[0]
    game = load_game(path)
    odd = tmp_path / path.name
    odd.write_bytes(path.read_bytes().replace(game.task.encode(), b"sing a song."))
    with pytest.raises(UserError, match=f"{odd}: goal sentence 'sing a song.'"):
        play_expert(load_game(odd), {}, "train", 50)
