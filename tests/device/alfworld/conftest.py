"""Real games, where the official data or the archives beside the repository are at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from duomem.device.alfworld.catalogue import GAME_FILE, find_games

_ARCHIVE = Path(__file__).parents[4] / "shared" / "alfworld" / "alfworld_valid_seen.tar.zst"


@pytest.fixture(scope="session")
def real_games(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The official valid_seen games, sorted: from $ALFWORLD_DATA or else from the archive. Skips without."""
    data = os.environ.get("ALFWORLD_DATA")
    found = find_games(Path(data), "valid_seen") if data else []
    if found:
        return found
    if not _ARCHIVE.is_file() or not shutil.which("zstd"):
        pytest.skip(f"no games in $ALFWORLD_DATA, and no zstd or no {_ARCHIVE.name} in ../shared/alfworld")
    folder = tmp_path_factory.mktemp("real")
    subprocess.run(["tar", "--zstd", "-xf", _ARCHIVE, "-C", folder], check=True)
    return sorted(folder.rglob(GAME_FILE))


@pytest.fixture(scope="session")
def a_game(generated_games: Path) -> Path:
    """One generated game of the clean family."""
    return next(path for path in find_games(generated_games, "train") if "pick_clean" in str(path))
