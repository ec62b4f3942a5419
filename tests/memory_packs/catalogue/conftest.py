"""A catalogue with one pack, served on loopback, and a user who has nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="tuf is not installed: pip install duomem[packs]")

from catalogues import Keeper, Server, serving


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of everything."""
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """The keeper of a catalogue that lists expert 1.0.0."""
    keeper = Keeper(tmp_path)
    keeper.publish("1.0.0")
    return keeper


@pytest.fixture
def server(keeper: Keeper) -> Iterator[Server]:
    """Serves the keeper's catalogue."""
    with serving(keeper.folder) as server:
        yield server
