"""The central claim: the shipped adapter, merged and compiled for this machine, wins generated games it never saw."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem.device.agent.evaluate import EvalConfig, evaluate, summarize
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation

pytest.importorskip("torch", reason="pip install duomem[train,compile]")
pytest.importorskip("peft", reason="pip install duomem[train]")
pytestmark = pytest.mark.slow

SHIPPED = Path(__file__).parents[2] / "shipped"
GAMES = 30
"""Five of each task type."""
SEED = 11
MAX_STEPS = 50


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Generated valid_seen games: layouts that no train game has."""
    from duomem.core.errors import GameError
    from duomem.train.games.generate import generate

    folder = tmp_path_factory.mktemp("games")
    try:
        for _ in generate(folder, SEED, {"train": 6, "valid_seen": GAMES, "valid_unseen": 6}):
            pass
    except GameError as e:
        pytest.skip(str(e))
    return find_games(folder, "valid_seen")


def _wins(games: list[Path], choose: Callable[[Observation], str]) -> int:
    """Games won by what `choose` picks at each step."""
    wins = 0
    for game in games:
        env = AlfworldEnv()
        observation = env.reset(load_game(game))
        for _ in range(MAX_STEPS):
            observation = env.step(choose(observation))
            if observation.won:
                wins += 1
                break
    return wins


def test_random_commands_win_next_to_nothing(games: list[Path]) -> None:
    """The baseline: such games are not won by chance."""
    rng = random.Random(SEED)
    assert len(games) == GAMES
    assert _wins(games, lambda observation: rng.choice(observation.admissible)) < 0.2 * GAMES


def test_the_shipped_student_wins(games: list[Path], shipped_bundle: Path, tmp_path: Path) -> None:
    config = EvalConfig(shipped_bundle, SHIPPED / "packs" / "alfworld-expert.dmpack", "constrained")
    score = summarize(evaluate(config, games, "valid_seen", tmp_path / "episodes.jsonl", 2))["all"]
    assert score.n == GAMES
    assert score.wins >= 0.9 * GAMES
