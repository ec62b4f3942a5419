"""A game the tests of the engine share."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.device.alfworld.game_files import find_games


@pytest.fixture(scope="session")
def a_game(generated_games: Path) -> Path:
    """One generated game of the clean task type."""
    return next(path for path in find_games(generated_games, "train") if "pick_clean" in str(path))
