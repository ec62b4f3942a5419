"""The programs in examples/, run as a reader runs them, on a tiny model and generated games."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem import Pack, find_games, load_game, teach

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CONTEXT = 2048
"""Bytes: what the tiny model's tokens are."""


def _run(name: str, *arguments: object) -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> tuple[Path, str]:
    """A bundle that compile_model.py made, with room for a game, and what it printed."""
    folder = tmp_path_factory.mktemp("examples")
    model = make_model(folder / "model", max_position_embeddings=4096)
    out = folder / "bundle"
    return out, _run("compile_model.py", model, out, "--scheme", "q0f32", "--context", CONTEXT)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, generated_games: Path) -> tuple[Path, str]:
    """A pack that build_pack.py made of the expert's episodes, and what it printed."""
    folder = tmp_path_factory.mktemp("pack")
    teach(find_games(generated_games, "train")[:6], "train", {}, folder / "t.jsonl", 1, 50)
    return folder / "p.dmpack", _run("build_pack.py", folder / "t.jsonl", folder / "p.dmpack", "put a mug in desk.")


def test_every_example_is_listed_and_tested() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == set(re.findall(r"^- \[(\w+\.py)\]\(\1\) ", (EXAMPLES / "README.md").read_text(), re.M))
    assert names == set(re.findall(r'_run\(\s*"(\w+\.py)"', Path(__file__).read_text()))


def test_compile_model(bundle: tuple[Path, str]) -> None:
    folder, printed = bundle
    assert printed.startswith(f"{folder}: compiled, q0f32, {CONTEXT} tokens\nlibrary lib/cpu-")
    assert re.search(r"^largest difference .*: \d\.\de-\d\d \(bound [\d.e-]+\)$", printed, re.M)


def test_build_pack(pack: tuple[Path, str]) -> None:
    file, printed = pack
    first, *found = printed.splitlines()
    read = Pack.load(file)
    assert first == f"{file}: {len(read.memories)} memories by {read.author}" and read.memories
    assert found == [f"{n:.3f}  {m.text()}" for n, m in read.search("put a mug in desk.", k=2)] and len(found) == 2


def test_read_pack(pack: tuple[Path, str]) -> None:
    memory = Pack.load(pack[0]).memories[0]
    assert memory.steps[0] in _run("read_pack.py", pack[0], *memory.triple)


def test_own_world(bundle: tuple[Path, str], tmp_path: Path) -> None:
    """In 60 lines; the memory that is shown is of the train game with the same drink."""
    code = [line for line in (EXAMPLES / "own_world.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 60
    printed = _run("own_world.py", bundle[0], tmp_path)
    found = re.fullmatch(r"make tea for guest 2\. make tea for guest 0\. (.*;) (.*) (True|False)\n", printed)
    assert found and found[1] == "1. boil water; 2. add leaves; 3. pour;"
    steps = found[2].split(" > ")
    assert 3 <= len(steps) <= 9 and (found[3] == "True") == (steps[-3:] == ["boil water", "add leaves", "pour"])


def test_play_game(bundle: tuple[Path, str], pack: tuple[Path, str], generated_games: Path) -> None:
    game = find_games(generated_games, "valid_seen")[0]
    task, memory, *steps, outcome = _run(
        "play_game.py", bundle[0], game, "--pack", pack[0], "--max-steps", 2
    ).splitlines()
    assert task == f"task: {load_game(game).task}" and memory.startswith("memory: ")
    assert [step[:6] for step in steps] == ["  1 > ", "  2 > "]
    assert re.fullmatch(r"lost in 2 steps, [\d.]+ s", outcome)
