"""alfworld-lite in Gymnasium: its checker, its registry, and the three ways a vector of games goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

gymnasium = pytest.importorskip("gymnasium")
import numpy as np  # noqa: E402
from alfworld_lite.gym import ENV_ID, AlfworldGymEnv, AlfworldVectorEnv, register_envs  # noqa: E402
from gymnasium.utils.env_checker import check_env  # noqa: E402

from alfworld_lite import GameError, load_game  # noqa: E402


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_envs()


@pytest.mark.filterwarnings("error")
def test_the_checker_passes(generated_games: Path) -> None:
    check_env(gymnasium.make(ENV_ID, games=str(generated_games), render_mode="ansi").unwrapped, skip_render_check=False)


def test_made_by_name(generated_games: Path) -> None:
    env = gymnasium.make(ENV_ID, games=generated_games, max_steps=3)
    first, info = env.reset(seed=5)
    assert env.reset(seed=5) == (first, info) and "Your task is to: " in first
    assert env.reset(options={"game": info["gamefile"]})[0] == first
    assert [env.step("look")[3] for _ in range(3)] == [False, False, True]
    vector = gymnasium.make_vec(ENV_ID, num_envs=2, games=generated_games)
    assert isinstance(vector.unwrapped, AlfworldVectorEnv)


def test_a_win_ends_it(train_games: list[str]) -> None:
    env = AlfworldGymEnv(train_games[0])
    env.reset(seed=0)
    for command in load_game(train_games[0]).walkthrough:
        text, reward, terminated, truncated, info = env.step(command)
    assert (reward, terminated, truncated, info["won"]) == (1.0, True, False, True) and env.observation_space.contains(
        text
    )
    assert env.state_id == env.env.clone().state_id


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_what_follows_the_end(train_games: list[str], mode: gymnasium.vector.AutoresetMode) -> None:
    """As SyncVectorEnv of the same envs does, step by step."""
    ours = AlfworldVectorEnv(2, train_games[:1], max_steps=3, autoreset_mode=mode)
    theirs = gymnasium.vector.SyncVectorEnv(
        [lambda: AlfworldGymEnv(train_games[:1], max_steps=3)] * 2, autoreset_mode=mode
    )
    mine, other = ours.reset(seed=1), theirs.reset(seed=1)
    assert mine[0] == other[0] and set(mine[1]) == set(other[1])
    for turn in range(8):
        if mode is gymnasium.vector.AutoresetMode.DISABLED and turn == 3:
            with pytest.raises(GameError, match="reset_mask"):
                ours.step(["look", "look"])
            mask = {"reset_mask": np.array([True, True])}
            assert ours.reset(options=dict(mask))[0] == theirs.reset(options=dict(mask))[0]
        if mode is gymnasium.vector.AutoresetMode.DISABLED and turn == 6:
            return
        mine, other = ours.step(["look", "inventory"]), theirs.step(["look", "inventory"])
        assert mine[0] == other[0]
        for a, b in zip(mine[1:4], other[1:4], strict=True):
            assert a.dtype == b.dtype and (a == b).all()
        assert set(mine[4]) == set(other[4])
        for key, value in other[4].items():
            if key == "final_info":
                assert all((mine[4][key][name] == inner).all() for name, inner in value.items())
            else:
                assert (mine[4][key] == value).all(), key


def test_seeds_of_a_vector(train_games: list[str]) -> None:
    env = AlfworldVectorEnv(3, train_games)
    first = env.reset(seed=4)[1]["gamefile"].tolist()
    assert env.reset(seed=[4, 5, 6])[1]["gamefile"].tolist() == first
    assert env.observation_space.contains(env.step(["look"] * 3)[0])
    chosen = env.reset(options={"game": train_games[3:6]})[1]["gamefile"].tolist()
    assert chosen == train_games[3:6] and set(env.reset(options={"game": train_games[0]})[1]["gamefile"]) == {
        train_games[0]
    }
    with pytest.raises(GameError, match="one game for each"):
        env.reset(options={"game": train_games[:2]})
    with pytest.raises(GameError, match="2 actions"):
        env.step(["look"] * 2)
    with pytest.raises(GameError, match="no train games"):
        AlfworldGymEnv([])
