"""Success in held-out train games as a figure of bundle.json."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.compile.gate.success import HeldOutGames, measure_success
from duomem.core.errors import CompileError, GateError
from duomem.device.alfworld.game_files import find_games
from duomem.device.engine.bundle import read_bundle


@pytest.fixture
def games(generated_games: Path) -> tuple[Path, ...]:
    return tuple(find_games(generated_games, "train")[:2])


def test_what_a_random_model_wins_is_counted_by_protocol(tiny_bundle: Path, games: tuple[Path, ...]) -> None:
    bundle = read_bundle(tiny_bundle)
    held_out = HeldOutGames(games, None)
    figures = measure_success(bundle, bundle.libraries[0], held_out)
    assert figures["games"] == 2 and figures["library"] == bundle.libraries[0].file
    assert figures["digest"] == held_out.record()["digest"] != HeldOutGames(games[:1], None).record()["digest"]
    assert set(figures["won"]) == {"constrained", "free"} and all(0 <= won <= 2 for won in figures["won"].values())


def test_a_process_that_dies_is_one_line(tiny_bundle: Path, games: tuple[Path, ...]) -> None:
    bundle = read_bundle(tiny_bundle)
    gone = type(bundle.libraries[0])("lib/gone.so", "generic", frozenset())
    with pytest.raises(GateError, match=r"playing the held-out games.*lib/gone.so"):
        measure_success(bundle, gone, HeldOutGames(games, None))


def test_no_game_or_too_many_are_refused(games: tuple[Path, ...]) -> None:
    for chosen in ((), games * 17):
        with pytest.raises(CompileError, match="give 1 to 32"):
            HeldOutGames(chosen, None).record()
