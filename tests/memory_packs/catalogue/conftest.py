"""A catalogue with one pack, served on loopback, and a user who has nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from catalogues import Keeper, Server

collect_ignore_glob = [] if find_spec("tuf") else ["test_*.py"]
"""Without the extra `packs` there is nothing to test here."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of everything."""
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """The keeper of a catalogue that lists expert 1.0.0."""
    from catalogues import Keeper

    keeper = Keeper(tmp_path)
    keeper.publish("1.0.0")
    return keeper


@pytest.fixture
def server(keeper: Keeper) -> Iterator[Server]:
    """Serves the keeper's catalogue."""
    from catalogues import serving

    with serving(keeper.folder) as server:
        yield server
