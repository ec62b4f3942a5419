"""A world's own expert as a teacher: trajectories that name their world, and what is made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.core.trajectory import from_json, read_trajectories
from duomem.memory_packs.build import build_pack
from duomem.memory_packs.pack import read_pack
from duomem.train.student import train_student
from duomem.train.teachers.own_expert import play_own_expert

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
WORLD = "own_world:KITCHEN"


@pytest.fixture
def games(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two train games and a test game of the example's kitchen."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for split, drink, number in (("train", "tea", 1), ("train", "cocoa", 2), ("test", "tea", 3)):
        file = tmp_path / "games" / split / f"make-{drink}-kitchen" / str(number) / "game.json"
        file.parent.mkdir(parents=True)
        said = {"world": "kitchen", "task_type": "make", "goal": f"make {drink} for guest {number}.", "drink": drink}
        file.write_text(json.dumps(said))
    return tmp_path / "games"


def _kitchen(games: Path) -> tuple:
    import own_world

    world = own_world.KITCHEN
    return world, [world.load_game(file) for file in world.find_games(games, "train")]


def test_an_episode_names_its_world(games: Path) -> None:
    world, (cocoa, _) = _kitchen(games)
    played = play_own_expert(world, cocoa, "train", 9)
    assert played.won and played.world == "kitchen" and played.player == "expert/1"
    assert [s.action for s in played.steps] == ["warm milk", "add cocoa", "pour"]
    row = json.loads(json.dumps(played.to_json()))
    assert row["world"] == "kitchen" and from_json(row, "t") == played
    assert "world" not in replace(played, world="alfworld").to_json()
    with pytest.raises(UserError, match="field world is not a str"):
        from_json(row | {"world": 3}, "t")


def test_mistakes_are_marked(games: Path) -> None:
    world, (cocoa, _) = _kitchen(games)
    played = play_own_expert(world, cocoa, "train", 3, noise_rate=1.0, seed=5)
    assert len(played.steps) == 3 and all(s.is_noise and s.action in s.admissible for s in played.steps)
    assert play_own_expert(world, cocoa, "train", 3, noise_rate=1.0, seed=5) == played


def test_teach_pack_and_baselines(games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, pack = tmp_path / "t.jsonl", tmp_path / "p.dmpack"
    options = ["--world", WORLD, "--games", str(games), "--jobs", "1"]
    assert main(["teach", *options, "--out", str(out)]) == 0
    assert "2 train games, 2 won (100.0%), 3.0 steps a game" in capsys.readouterr().out
    assert main(["pack", "build", str(out), "--out", str(pack)]) == 0
    assert read_pack(pack).environment == "kitchen" and "kitchen, prompt version" in capsys.readouterr().out
    episodes = str(tmp_path / "e.jsonl")
    assert main(["baseline", "matcher", *options, "--split", "test", "--pack", str(pack), "--out", episodes]) == 0
    assert [t.won for t in read_trajectories(Path(episodes))] == [True]
    assert main(["baseline", "random", *options, "--out", str(tmp_path / "r.jsonl")]) == 0  # on the last split
    assert [t.split for t in read_trajectories(tmp_path / "r.jsonl")] == ["test"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("teach --world mars --out t", "no such world"),
        ("teach --world own_world:KITCHEN --out t", "no games of the world kitchen here"),
        ("teach --world own_world:KITCHEN --games games --out t --synthetic 3", "its own expert plays"),
        ("teach --world own_world:KITCHEN --games games --out t --split dev", "'dev' is not one of 'train', 'test'"),
        ("teach --world own_world:KITCHEN --games games --out t --task-type x", "'x' is not 'make'"),
        ("baseline random --world own_world:KITCHEN --games games --goals human", "have no people's words"),
        ("baseline random --split dev", "'dev' is not one of 'train', 'valid_seen', 'valid_unseen'"),
    ],
)
def test_wrong_command_lines(
    command: str, why: str, games: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(games.parent)
    assert main(command.split()) in (1, 2)
    assert why in capsys.readouterr().err


def test_worlds_are_not_mixed(games: Path, tmp_path: Path) -> None:
    world, found = _kitchen(games)
    played = [play_own_expert(world, game, "train", 9) for game in found]
    file = tmp_path / "t.jsonl"

    def write(*worlds: str) -> None:
        rows = [replace(t, world=name).to_json() for t, name in zip(played, worlds, strict=True)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("kitchen", "alfworld")
    with pytest.raises(UserError, match="played in alfworld, kitchen: a pack is for one world"):
        build_pack(file, tmp_path / "p.dmpack", "p")
    write("kitchen", "kitchen")
    build_pack(file, tmp_path / "p.dmpack", "p")
    with pytest.raises(UserError, match="none of duomem's: give it with --world MODULE:NAME"):
        train_student("smollm2-135m", [file], [tmp_path / "p.dmpack"], tmp_path / "adapter", models=tmp_path)
    write("kitchen", "alfworld")
    with pytest.raises(UserError, match="are of two worlds"):
        train_student("smollm2-135m", [file], [tmp_path / "p.dmpack"], tmp_path / "adapter", models=tmp_path)
