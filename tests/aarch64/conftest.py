"""A student compiled for AArch64 and for this machine, shared by what runs it on the emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import emulator
import pytest

from duomem.device.alfworld.game_files import find_games


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, make_model: Any) -> Path:
    """A tiny model compiled for aarch64 with a context that holds a few steps, its libraries checked on qemu."""
    for name in ("torch", "transformers", "ziglang"):
        pytest.importorskip(name)
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target

    folder = tmp_path_factory.mktemp("aarch64")
    model = make_model(folder / "model", max_position_embeddings=8192)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUOMEM_AARCH64_PYTHON", str(emulator.PYTHON))
        compile_bundle(model, load_target("aarch64"), "q4f32_1", folder / "b", 8192, None, 0.0, "exact")
        compile_bundle(model, load_target("host"), "q4f32_1", folder / "host", 8192, None, 0.0, "exact")
    return folder / "b"


@pytest.fixture(scope="session")
def game(generated_games: Path) -> Path:
    """One generated game."""
    return find_games(generated_games, "train")[0]
