"""Nothing a student is measured on is in what it learns from: no game, no layout, no observation, no floor plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main
from duomem.core.files import sha256_file
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import SPLITS, find_games
from duomem.memory_packs.pack import read_pack
from duomem.train.games.layouts import UNSEEN_PLANS

SHIPPED = Path(__file__).parents[1] / "shipped" / "packs"
VALIDATION = ("valid_seen", "valid_unseen")
MADE = {
    "expert.jsonl": (),
    "noise.jsonl": ("--noise-rate", "0.2"),
    "told.jsonl": ("--goals", "human", "--annotation", "all", "--misread-rate", "0.5"),
    "synthetic.jsonl": ("--synthetic", "8"),
}
"""Training data by file, and the options of `duomem teach` that make it."""


def _make(games: Path, out: Path) -> dict[str, Any]:
    """Everything students learn from: the files' bytes by name, priors and packs included."""
    for name, options in MADE.items():
        assert main(["teach", "--games", str(games), "--jobs", "1", "--out", str(out / name), *options]) == 0
        assert main(["pack", "build", str(out / name), "--name", name, "--out", str(out / f"{name}.dmpack")]) == 0
    return {file.name: file.read_bytes() for file in out.iterdir()}


@pytest.fixture(scope="module")
def made(told_games: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    _make(told_games, out)
    return out


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _scene(game: Path) -> str:
    """The floor plan a game's folder names."""
    return game.parts[-3].rpartition("-")[2]


def _layout(game: Game) -> tuple[str, frozenset[tuple[str, ...]]]:
    """The floor plan, and what lies where in it at the start, to the centimetre."""
    return _scene(game.path), frozenset(tuple(fact) for fact in game.facts["inreceptacle"])


@pytest.mark.parametrize("name", MADE)
def test_games_are_train_games_by_digest(name: str, made: Path, generated_games: Path) -> None:
    digests = {split: {sha256_file(g) for g in find_games(generated_games, split)} for split in SPLITS}
    played, memories = _rows(made / name), read_pack(made / f"{name}.dmpack").memories
    assert played and {row["game"] for row in played} <= digests["train"]
    assert memories and {game for m in memories for game, _ in m.sources} <= digests["train"]
    assert {row["split"] for row in played} == {"train"}
    for split in VALIDATION:
        assert digests[split] and not digests[split] & digests["train"]
        for file in made.iterdir():
            assert not any(digest.encode() in file.read_bytes() for digest in digests[split])


def test_validation_games_change_nothing(made: Path, told_games: Path, tmp_path: Path) -> None:
    """With other validation games, or none, the training data, the priors and the packs are the same bytes."""
    root = Path(shutil.copytree(told_games, tmp_path / "games"))
    for split in VALIDATION:
        for game in find_games(root, split):
            shutil.rmtree(game.parent)
    (tmp_path / "made").mkdir()
    assert _make(root, tmp_path / "made") == {file.name: file.read_bytes() for file in made.iterdir()}


@pytest.mark.parametrize("name", ["expert.jsonl", "noise.jsonl"])
def test_every_observation_is_one_of_its_own_train_game(name: str, made: Path, generated_games: Path) -> None:
    games = {sha256_file(path): path for path in find_games(generated_games, "train")}
    for row in _rows(made / name):
        env = AlfworldEnv()
        texts = [env.reset(load_game(games[row["game"]])).text]
        texts += [env.step(step["action"]).text for step in row["steps"]]
        assert texts == [*(step["observation"] for step in row["steps"]), row["last"]] and row["intro"] == texts[0]


def test_synthetic_tasks_play_in_scenes_of_train_games(made: Path, generated_games: Path) -> None:
    """Their goals are nobody else's, their scenes list what the train game's lists."""
    games = {sha256_file(path): path for path in find_games(generated_games, "train")}
    for row in _rows(made / "synthetic.jsonl"):
        real = AlfworldEnv().reset(load_game(games[row["game"]])).text
        assert row["intro"].partition("Your task is to:")[0] == real.partition("Your task is to:")[0]
        assert row["goal"] not in real and row["task_type"].startswith("synthetic")


def test_layouts_and_scenes_of_generated_games(generated_games: Path) -> None:
    games = {split: [load_game(path) for path in find_games(generated_games, split)] for split in SPLITS}
    known = {_layout(game) for game in games["train"]}
    for split in VALIDATION:
        assert not known & {_layout(game) for game in games[split]}
    scenes = {split: {int(_scene(game.path)) for game in games[split]} for split in SPLITS}
    assert scenes["valid_unseen"] <= UNSEEN_PLANS
    assert not (scenes["train"] | scenes["valid_seen"]) & UNSEEN_PLANS


def test_layouts_of_the_official_games(real_games: list[Path], real_train_games: list[Path]) -> None:
    """137 of the 140 valid_seen games share task and scene with a train game: what lies where tells them apart."""
    groups = {game.parts[-3] for game in real_games}
    alike = [game for game in real_train_games if game.parts[-3] in groups]
    assert len({game.parts[-3] for game in alike}) > 0.9 * len(groups)
    assert not {_layout(load_game(game)) for game in alike} & {_layout(load_game(game)) for game in real_games}
    assert not {int(_scene(game)) for game in real_train_games} & UNSEEN_PLANS


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.dmpack")), ids=lambda path: path.stem)
def test_shipped_packs_hold_official_train_games_only(
    path: Path, real_games: list[Path], real_train_games: list[Path]
) -> None:
    memories = read_pack(path).memories
    assert len(memories) > 1000
    sources = [source for m in memories for source in m.sources]
    digests = {game for game, _ in sources}
    assert not digests & {sha256_file(game) for game in real_games}
    assert digests <= {sha256_file(game) for game in real_train_games}
    assert not any(group.rpartition("-")[2] in map(str, UNSEEN_PLANS) for _, group in sources)
