"""Baselines are evaluated as students are: the same rows, the same games, no memory of the game itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.device.agent.baseline_player import MatcherConfig, RandomConfig
from duomem.device.agent.evaluate import evaluate, inputs_of, read_episodes
from duomem.device.alfworld.annotations import tell
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.pack import read_pack, write_pack
from duomem.train.teachers.teach import play_expert


@pytest.fixture(scope="module")
def games(generated_games: Path) -> list[Path]:
    return find_games(generated_games, "train")


@pytest.fixture(scope="module")
def memories(games: list[Path]) -> list[Memory]:
    return [write_memory(play_expert(load_game(path), {}, "train", 100)) for path in games]


@pytest.fixture(scope="module")
def pack(memories: list[Memory], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("packs") / "a.dmpack"
    write_pack(file, "a", "expert/1", "", memories)
    return file


def _played(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_random_rows_are_episodes_that_cost_no_tokens(games: list[Path], tmp_path: Path) -> None:
    rows = evaluate(RandomConfig(max_steps=4), games, "train", tmp_path / "1.jsonl", 1)
    assert rows == read_episodes(tmp_path / "1.jsonl") and len(rows) == 18
    assert {(row["player"], row["split"], row["prefilled"], row["decoded"]) for row in rows} == {
        ("random", "train", 0, 0)
    }
    assert {(len(row["steps"]), len(row["memories"])) for row in rows} == {(4, 0)}
    two = evaluate(RandomConfig(max_steps=4), games, "train", tmp_path / "2.jsonl", 2)
    assert _played(two) == _played(rows)
    other = evaluate(RandomConfig(1, 4), games, "train", tmp_path / "3.jsonl", 1)
    assert _played(other) != _played(rows)


def test_every_game_and_goal_has_its_own_draws(games: list[Path]) -> None:
    game = load_game(games[0])
    player = RandomConfig(max_steps=20).load_player()
    told = [player.play(g, "train").commands for g in (game, game, tell(game, game.task, "human:0"))]
    assert told[0] == told[1] != told[2]
    assert player.play(game, "train").seconds > 0


def test_the_filter_keeps_commands_in_vain_from_being_drawn(games: list[Path]) -> None:
    game = load_game(games[0])
    plain, filtered = (RandomConfig(max_steps=50, action_filter=on).load_player().play(game) for on in (False, True))
    assert plain.commands.count("look") > filtered.commands.count("look")


def test_the_matcher_follows_other_games_memories(
    games: list[Path], memories: list[Memory], pack: Path, tmp_path: Path
) -> None:
    rows = evaluate(MatcherConfig(pack), games, "train", tmp_path / "e.jsonl", 1)
    assert {row["player"] for row in rows} == {f"matcher:{read_pack(pack).content_digest[:12]}"}
    own = {memory.id for memory in memories}
    for row, memory in zip(rows, memories, strict=True):
        assert set(row["memories"]) <= own - {memory.id}
    assert sum(bool(row["memories"]) for row in rows) > 9
    chance = evaluate(RandomConfig(), games, "train", tmp_path / "r.jsonl", 1)
    assert sum(row["won"] for row in rows) > 2 * sum(row["won"] for row in chance)


def test_a_pack_that_tells_of_the_games_is_refused(games: list[Path], pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.dmpack: holds memories of 18 of these valid_seen games"):
        evaluate(MatcherConfig(pack), games, "valid_seen", tmp_path / "e.jsonl", 1)
    assert not list(tmp_path.iterdir())


def test_records_tell_configs_apart(games: list[Path], pack: Path) -> None:
    plain, matcher = RandomConfig(), MatcherConfig(pack)
    configs = [
        plain,
        replace(plain, seed=1),
        replace(plain, max_steps=3),
        replace(plain, action_filter=True),
        matcher,
        replace(matcher, k=2),
        replace(matcher, max_steps=3),
        replace(matcher, action_filter=True),
    ]
    records = [inputs_of(config, games, "train") for config in configs]
    assert all(records.count(record) == 1 for record in records)
    with pytest.raises(UserError, match="no such memory pack"):
        MatcherConfig(pack / "x").record()
