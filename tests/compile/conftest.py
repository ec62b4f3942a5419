"""Everything here makes or reads models, so it needs torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _torch() -> None:
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install duomem[compile]")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What compiling keeps for later stays out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUOMEM_HOME", str(tmp_path_factory.mktemp("home")))
        yield
