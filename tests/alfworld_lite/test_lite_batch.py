"""alfworld-lite's batches: ALFWorld's interface, the games' order, what a game that is over says."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alfworld_lite.order import shuffled_cycle

from alfworld_lite import AlfredTWEnv, BatchEnv, GameError, get_environment, load_game


@pytest.mark.parametrize(("count", "seed"), [(1, 0), (2, 7), (18, 1234), (1000, 2**32 - 1)])
def test_games_come_in_numpys_order(count: int, seed: int) -> None:
    """TextWorld shuffles a copy once, then the copy again after each round."""
    rng, order = np.random.RandomState(seed), list(range(count))
    expected = []
    for _ in range(3):
        rng.shuffle(order)
        expected += order
    assert list(itertools.islice(shuffled_cycle(range(count), seed), 3 * count)) == expected


def test_a_batch_is_played_as_in_alfworld(config: dict[str, Any]) -> None:
    env = get_environment("AlfredTWEnv")(config, train_eval="train").init_env(batch_size=3)
    texts, infos = env.reset()
    assert len(texts) == 3 and set(infos) == {"admissible_commands", "won", "extra.gamefile"}
    walkthroughs = [load_game(path).walkthrough for path in infos["extra.gamefile"]]
    for turn in range(max(map(len, walkthroughs))):
        commands = [walk[turn] if turn < len(walk) else "look" for walk in walkthroughs]
        texts, scores, dones, infos = env.step(commands)
        expected = [turn + 1 >= len(walk) for walk in walkthroughs]
        assert list(dones) == infos["won"] == expected and list(scores) == [int(won) for won in expected]
        assert all(isinstance(commands, list) and "look" in commands for commands in infos["admissible_commands"])
    assert all(text.startswith("You ") for text in texts)
    assert env.step(["inventory"] * 3)[0] == texts


def test_a_game_ends_after_its_steps(train_games: list[str]) -> None:
    env = BatchEnv(train_games, batch_size=2, max_steps=2)
    env.reset()
    assert env.step(["look", "look"])[2] == (False, False)
    texts, scores, dones, infos = env.step(["look", "help"])
    assert dones == (True, True) and scores == (0, 0) and infos["won"] == [False, False]
    assert texts[1].startswith("Available commands:") and texts[1].endswith("\n")
    assert env.step(["inventory", "inventory"])[0] == texts
    env.reset()
    assert env.step(["inventory", "inventory"])[0] == ("You are not carrying anything.",) * 2


def test_seeds_decide_the_games(train_games: list[str]) -> None:
    def played(seed: int) -> list[str]:
        env = BatchEnv(train_games, batch_size=2, seed=seed)
        return [path for _ in range(6) for path in env.reset()[1]["extra.gamefile"]]

    assert played(3) == played(3) != played(4)
    env = BatchEnv(train_games, seed=4)
    env.seed(3)
    env.skip(2)
    assert env.reset()[1]["extra.gamefile"] == played(3)[2:3]


def test_games_are_played_by_path(train_games: list[str]) -> None:
    env = BatchEnv(train_games, batch_size=2)
    _, infos = env.play([train_games[5]] * 2)
    assert infos["extra.gamefile"] == [train_games[5]] * 2
    same = env.state_ids
    assert same[0] == same[1]
    env.step([infos["admissible_commands"][0][0], "look"])
    assert env.state_ids[0] != env.state_ids[1] == same[1]


def test_a_config_chooses_games(config: dict[str, Any]) -> None:
    assert AlfredTWEnv(config).num_games == 18
    config["env"]["task_types"] = [4]
    config["dataset"]["num_train_games"] = 2
    env = AlfredTWEnv(config)
    assert env.num_games == 2 and all("pick_heat" in path for path in env.game_files)
    config["general"]["training_method"] = "dqn"
    assert env.max_steps == 50 and AlfredTWEnv(config).max_steps == 20


def test_old_words(config: dict[str, Any]) -> None:
    config["env"]["dialect"] = "0.3"
    env = AlfredTWEnv(config).init_env(1)
    _, infos = env.reset()
    walk = load_game(infos["extra.gamefile"][0], dialect="0.3").walkthrough
    assert not any(command.startswith("move ") for command in walk)
    told = [env.step([command]) for command in walk]
    assert told[0][0][0].startswith("You arrive at loc ") and told[-1][3]["won"] == [True]
    assert "help" not in infos["admissible_commands"][0]


def test_human_goals(train_games: list[str], tmp_path: Path) -> None:
    game = shutil.copy(train_games[0], tmp_path)
    (tmp_path / "traj_data.json").write_text(
        json.dumps({"turk_annotations": {"anns": [{"task_desc": "tidy the mug away"}, {"task_desc": "put it there"}]}})
    )
    told = {BatchEnv([game], human_goals=1, seed=seed).reset()[0][0].rpartition(": ")[2] for seed in range(8)}
    assert told == {"tidy the mug away", "put it there"}
    with pytest.raises(GameError, match=r"traj_data\.json"):
        BatchEnv(train_games, human_goals=1).reset()


@pytest.mark.parametrize(
    ("section", "field", "value", "said"),
    [
        ("env", "domain_randomization", True, "env.domain_randomization"),
        ("general", "training_method", "ppo", "general.training_method"),
        ("dataset", "data_path", "/nowhere", "dataset.data_path"),
        ("env", "task_types", [], "dataset.data_path"),
        ("env", "dialect", "0.2", "dialect '0.2'"),
    ],
)
def test_what_is_not_done_is_said(config: dict[str, Any], section: str, field: str, value: Any, said: str) -> None:
    config[section][field] = value
    with pytest.raises(GameError, match=said):
        AlfredTWEnv(config).init_env(1).reset()


def test_missing_fields_and_kinds(config: dict[str, Any], train_games: list[str]) -> None:
    with pytest.raises(GameError, match="train_eval"):
        AlfredTWEnv(config, "test")
    del config["dagger"]
    with pytest.raises(GameError, match=r"dagger\.training\.max_nb_steps_per_episode is missing"):
        AlfredTWEnv(config)
    with pytest.raises(GameError, match="AlfredThorEnv"):
        get_environment("AlfredThorEnv")
    env = BatchEnv(train_games)
    with pytest.raises(GameError, match="after reset"):
        env.step(["look"])
    with pytest.raises(GameError, match="no expert"):
        env.reset()[1]["extra.expert_plan"]
    for wrong in ({"game_files": []}, {"game_files": train_games, "batch_size": 0}):
        with pytest.raises(GameError):
            BatchEnv(**wrong)
