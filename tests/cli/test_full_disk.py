"""A disk that fills up: one line, exit status 1, the old file as it was and no half of a new one."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from episodes import write_episodes

from duomem.cli.main import main
from duomem.memory_packs.build import build_pack
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack

MEMORIES = [Memory(f"put a mug in {'x' * (i % 400)}.", "f", "", "", ("look",), "f" * 64, "g") for i in range(200)]


def _limit(size: int) -> Callable[[], None]:
    """No file of this process may grow beyond `size` bytes, which is how a quota feels."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _run(*arguments: object, size: int) -> str:
    """The one line that a failing command writes."""
    done = subprocess.run(
        [sys.executable, "-m", "duomem.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        preexec_fn=_limit(size),
    )
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr.startswith("duomem: error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_standard_output(tmp_path: Path) -> None:
    write_pack(tmp_path / "a.dmpack", "a", "expert/1", "", MEMORIES)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "duomem.cli.main", "pack", "show", str(tmp_path / "a.dmpack")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("duomem: error: output: No space left on device")


def test_teach_keeps_what_was_played_and_goes_on(generated_games: Path, tmp_path: Path) -> None:
    arguments = ("teach", "--games", generated_games, "--jobs", 1, "--out", tmp_path / "t.jsonl")
    assert "t.jsonl.partial: File too large" in _run(*arguments, size=60_000)
    assert sorted(os.listdir(tmp_path)) == ["priors.json", "t.jsonl.partial"]
    kept = (tmp_path / "t.jsonl.partial").read_bytes().count(b"\n")
    assert kept > 2
    subprocess.run([sys.executable, "-m", "duomem.cli.main", *map(str, arguments)], check=True, capture_output=True)
    assert (tmp_path / "t.jsonl").read_bytes().count(b"\n") == 18
    before = _files(tmp_path)
    for name in ("pack", "out"):
        said = _run("pack", "build", tmp_path / "t.jsonl", "--out", tmp_path / f"{name}.dmpack", size=100)
        assert f"{name}.dmpack: File too large" in said
    assert _files(tmp_path) == before


def test_generate(tmp_path: Path) -> None:
    _run("games", "generate", "--out", tmp_path / "g", "--train", 2, "--seen", 0, "--unseen", 0, size=5000)
    assert not [name for name in _files(tmp_path) if not name.endswith("duomem-games.json")]


def test_train_and_merge(
    inputs_of_train: tuple[Path, Path], tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this process, as torch takes its time to load."""
    pytest.importorskip("peft")
    trajectories, pack = inputs_of_train
    config, adapter = tmp_path / "s.toml", tmp_path / "adapter"
    config.write_text(
        f'model = "{tiny_model}"\nrank = 8\nmax_steps = 2\nbatch_size = 2\ndtype = "float32"\ncompile = false\n'
    )
    train = [
        "train",
        "--config",
        str(config),
        "--trajectories",
        str(trajectories),
        "--pack",
        str(pack),
        "--threads",
        "1",
        "--out",
        str(adapter),
    ]
    merge = ["student", "merge", "--config", str(config), "--adapter", str(adapter), "--out", str(tmp_path / "student")]

    def fails(arguments: list[str]) -> None:
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, old[1]))
        try:
            assert main(arguments) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        out, err = capfd.readouterr()
        assert out == "" and err.startswith(f"duomem: error: {arguments[-1]}: cannot be written") and "too large" in err
        assert err.count("\n") == 1

    fails(train)
    assert sorted(os.listdir(tmp_path)) == ["adapter.training", "s.toml"]
    assert main(train) == 0 and capfd.readouterr().err == ""
    before = _files(tmp_path)
    fails(merge)
    assert _files(tmp_path) == before
    assert main(merge) == 0 and capfd.readouterr().err == ""


@pytest.fixture
def inputs_of_train(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A trajectory file and its pack, outside the folder under test."""
    folder = tmp_path_factory.mktemp("inputs")
    episodes = write_episodes(folder / "t.jsonl")
    build_pack(episodes, folder / "p.dmpack", "p")
    return episodes, folder / "p.dmpack"
