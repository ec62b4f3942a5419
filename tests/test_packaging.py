"""The wheel holds the whole package and nothing else, the source distribution what its tests need, and both work."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("train", "compile", "device", "memory_packs")
"""Folders at the top that are links in duomem/."""
NOT_SHIPPED = {".gitignore"}


def _package_files() -> Iterator[str]:
    """Every file of the package as it is imported, "duomem/..."."""
    for folder, folders, files in os.walk(ROOT / "duomem", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            if not name.endswith((".pyc", ".so")):
                yield (Path(folder) / name).relative_to(ROOT).as_posix()


def test_the_package_finds_its_files_by_importlib() -> None:
    """A path from __file__ would not hold in every kind of install."""
    assert not [name for name in _package_files() if name.endswith(".py") and "__file__" in (ROOT / name).read_text()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the source distribution of this checkout and the wheel built from it."""
    pytest.importorskip("build", reason="pip install duomem[dev]")
    out = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], out)
    return out


def _run(command: list[str | Path], folder: Path, **environment: str) -> str:
    """Standard output of a program run in `folder`, which sees nothing of this checkout by PYTHONPATH."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ALFWORLD_DATA")}
    done = subprocess.run(command, cwd=folder, env=kept | environment, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    (archive,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.mark.slow
def test_the_wheel_is_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    held = [name for name in names if ".dist-info/" not in name]
    assert sorted(held) == sorted(_package_files())
    for name in ("duomem/py.typed", "duomem/train/trainer.py", "duomem/configs/targets/host.toml"):
        assert name in held


@pytest.mark.slow
def test_the_source_distribution_is_the_checkout(source: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: no list of files to compare with")
    tracked = _run(["git", "ls-files"], ROOT).splitlines()
    links = {f"duomem/{name}" for name in LINKED}
    missing = []
    for name in set(tracked) - links - NOT_SHIPPED:
        there = f"duomem/{name}" if name.split("/")[0] in LINKED else name
        if (ROOT / name).is_file() and not (source / there).is_file():
            missing.append(name)
    assert not missing


@pytest.mark.slow
def test_tests_run_from_the_source_distribution(source: Path) -> None:
    tests = ["tests/core/test_stats.py", "tests/memory_packs"]
    options = ["-p", "no:cacheprovider", "-m", "not slow"]
    _run([sys.executable, "-m", "pytest", *options, *tests], source, PYTHONPATH=str(source))


@pytest.mark.slow
def test_the_installed_wheel_runs_outside_the_checkout(built: Path, tmp_path: Path) -> None:
    """Its dependencies are this Python's; scripts/check_wheel.sh installs them too."""
    _run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install"]
    _run([*pip, "--no-deps", "--no-index", wheel], tmp_path)
    where = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).strip()
    # A path alone: the .pth files in that folder, that of an editable duomem among them, are not read.
    (Path(where) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    found = _run([python, "-c", "import duomem, duomem.train.config; print(duomem.train.config.__file__)"], tmp_path)
    assert Path(found.strip()).is_relative_to(tmp_path)
    duomem = tmp_path / "venv" / "bin" / "duomem"
    assert "Usage:" in _run([duomem, "--help"], tmp_path)
    assert "host" in _run([duomem, "doctor"], tmp_path)
    _run([duomem, "games", "generate", "--out", "games", "--train", "12", "--seen", "6", "--unseen", "6"], tmp_path)
    assert "12 train games, 12 won" in _run([duomem, "teach", "--games", "games", "--out", "train.jsonl"], tmp_path)
    _run([duomem, "pack", "build", "train.jsonl", "--out", "expert.dmpack"], tmp_path)
