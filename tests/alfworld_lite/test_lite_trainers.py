"""alfworld-lite's drop-ins for trainers: verl-agent's environments and trl's tools."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from alfworld_lite.trl import AlfworldTools, rows
from alfworld_lite.verl import AlfworldEnvs, build_alfworld_envs
from old_rules import as_old

from alfworld_lite import GameError, load_game


def test_a_group_plays_the_same_games(config: dict[str, Any]) -> None:
    envs = build_alfworld_envs(config, 1, 2, 3, {"num_cpus": 0.1}, is_train=True, env_kwargs={})
    texts, images, infos = envs.reset()
    games = [info["extra.gamefile"] for info in infos]
    assert (
        images is None and len(texts) == 6 and len(set(games[:3])) == len(set(games[3:])) == 1 and games[0] != games[3]
    )
    assert len(set(envs.state_ids)) == 2
    assert envs.get_admissible_commands == [info["admissible_commands"] for info in infos]
    assert [info["observation_text"] for info in infos] == texts
    walk = load_game(games[0]).walkthrough
    for command in walk:
        texts, images, rewards, dones, infos = envs.step([command, *["look"] * 5])
    assert rewards == [10.0, *[0.0] * 5] and dones == [True, *[False] * 5] and infos[0]["won"]
    assert infos[0]["extra.gamefile"] == games[0]
    envs.close()
    with pytest.raises(GameError, match="5 actions for 6 envs"):
        envs.step(["look"] * 5)


def test_evaluation_plays_another_split(config: dict[str, Any]) -> None:
    for dataset, split in (("eval_in_distribution", "valid_seen"), ("eval_out_of_distribution", "valid_unseen")):
        envs = AlfworldEnvs(config, 0, 1, 1, is_train=False, env_kwargs={"eval_dataset": dataset})
        assert f"/{split}/" in envs.reset()[2][0]["extra.gamefile"]


def test_configs_are_read(config: dict[str, Any], tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    for name, text in (("config.yaml", yaml.safe_dump(config)), ("config.json", json.dumps(config))):
        (tmp_path / name).write_text(text)
        assert AlfworldEnvs(tmp_path / name, 0, 1, 1).reset()[0]
    for name, text in (("a.yaml", "a: ["), ("a.json", "{"), ("b.json", "[]"), ("absent.yaml", None)):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(GameError, match=name.replace(".", r"\.")):
            AlfworldEnvs(tmp_path / name)


def _call(tools: AlfworldTools, command: str) -> str:
    """A command of the engine, as the tool call that does it."""
    verb, _, rest = command.partition(" ")
    if verb == "go":
        return tools.go_to(rest.removeprefix("to "))
    method = getattr(tools, "put" if verb in ("move", "put") else verb)
    for between in (" in/on ", " from ", " with ", " to "):
        if between in rest:
            return method(*rest.split(between))
    return method(rest)


@pytest.mark.parametrize("ruled", ["new", "old"])
def test_tools_play_every_game(train_games: list[str], tmp_path: Path, ruled: str) -> None:
    for path in train_games[::3]:
        game = str(as_old(Path(path), tmp_path)) if ruled == "old" else path
        tools = AlfworldTools()
        (row,) = rows([game])
        assert "Your task is to: " in tools.reset(**row) and tools.get_reward() == 0.0
        texts = [_call(tools, command) for command in load_game(game).walkthrough]
        assert "Nothing happens." not in texts and texts[-1].endswith("The task is done.") and tools.get_reward() == 1.0
        with pytest.raises(ValueError, match=r"The game is over\."):
            tools.look()
        assert "tidy up" in tools.reset(**row, goal="tidy up") and not tools.won


def test_tools_end_after_their_steps(train_games: list[str]) -> None:
    class Short(AlfworldTools):
        max_steps = 2

    tools = Short()
    with pytest.raises(ValueError, match="over"):
        tools.look()
    with pytest.raises(GameError, match="gamefile"):
        tools.reset(prompt="")
    tools.reset(gamefile=train_games[0])
    assert tools.inventory() and tools.look() and tools.state_id
    with pytest.raises(ValueError, match="over"):
        tools.look()


@pytest.mark.slow
def test_every_tool_has_a_schema() -> None:
    """As trl finds them: public methods; transformers reads their docstrings."""
    utils = pytest.importorskip("transformers.utils")
    methods = dict(inspect.getmembers(AlfworldTools(), predicate=inspect.ismethod))
    tools = {name for name in methods if not name.startswith("_")} - {"reset", "get_reward"}
    assert tools == {
        *("go_to", "open", "close", "take", "put", "clean", "heat", "cool", "slice", "use", "examine", "look"),
        "inventory",
    }
    for name in tools:
        schema = utils.get_json_schema(methods[name])["function"]
        assert schema["description"] and set(schema["parameters"]["properties"]) == set(
            inspect.signature(methods[name]).parameters
        )
