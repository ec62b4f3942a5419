"""alfworld-lite as a package: nothing of duomem, nothing but Python, the same games from the generator, a wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alfworld_lite.generate import generate_games

import alfworld_lite
from duomem.train.games.generator import Generator

TREE = Path(__file__).parents[2] / "alfworld_lite"
PACKAGE = Path(alfworld_lite.__file__).parent

_PLAY = """
import json, sys
sys.path.insert(0, sys.argv[1])
sys.modules["duomem"] = None
import alfworld_lite, alfworld_lite.verl, alfworld_lite.trl, alfworld_lite.generate
env = alfworld_lite.AlfworldEnv()
env.reset(sys.argv[2])
won = [env.step(command).won for command in alfworld_lite.load_game(sys.argv[2]).walkthrough][-1]
loaded = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(json.dumps([won, alfworld_lite.__version__, sorted(loaded - {"alfworld_lite", "duomem", "__main__"})]))
"""


def _played(folder: Path, game: str) -> list[object]:
    """What a Python with nothing installed says of a game played with the package in `folder` (or in that wheel)."""
    command = [sys.executable, "-I", "-S", "-c", _PLAY, str(folder), game]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_it_needs_python_alone(train_games: list[str]) -> None:
    assert _played(PACKAGE.parent, train_games[0]) == [True, alfworld_lite.__version__, []]


def test_what_it_has_not_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module whose needs are no longer copied, and one that imports what never was."""
    monkeypatch.syspath_prepend(TREE)
    import vendor  # pyright: ignore[reportMissingImports]

    modules = {folder: tuple(name for name in names if name != "pddl") for folder, names in vendor.MODULES.items()}
    monkeypatch.setattr(vendor, "MODULES", modules)
    with pytest.raises(ValueError, match=r"device/alfworld/\w+\.py imports of duomem what alfworld_lite has not: pddl"):
        vendor.vendor(TREE.parent, tmp_path)
    monkeypatch.setattr(vendor, "MODULES", {"duomem/core": ("files",)})
    with pytest.raises(ValueError, match=r"duomem/core/files\.py imports"):
        vendor.vendor(TREE.parent, tmp_path)


def test_its_errors_say_what_a_stranger_can_do(train_games: list[str], tmp_path: Path) -> None:
    no_rules = json.dumps({**json.loads(Path(train_games[0]).read_bytes()), "grammar": ""})
    game = tmp_path / "game.tw-pddl"
    for text in ("{", "{}", '{"pddl_domain": ""}', no_rules):
        game.write_text(text)
        with pytest.raises(alfworld_lite.UserError, match=r"game\.tw-pddl") as caught:
            alfworld_lite.load_game(game)
        assert "duomem" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_generator_makes_duomems_games(tmp_path: Path) -> None:
    paths = list(generate_games(tmp_path, {"train": 2, "valid_unseen": 1}, seed=3))
    made = [Generator(3).make(split, index) for split, index in (("train", 0), ("train", 1), ("valid_unseen", 0))]
    assert [path.read_bytes() for path in paths] == [game.data for game in made]
    assert list(generate_games(tmp_path, {"train": 2, "valid_unseen": 1}, seed=3)) == paths
    assert alfworld_lite.find_games(tmp_path, "train") == sorted(paths[:2])


def test_the_example_trains(generated_games: Path) -> None:
    script = TREE / "examples" / "train_grpo.py"
    command = [sys.executable, str(script), str(generated_games), "--updates", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(PACKAGE.parent)})
    assert "games of other floor plans" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_wheel(train_games: list[str], tmp_path: Path) -> None:
    """Built without its build environment, which would be fetched."""
    version = pytest.importorskip("setuptools").__version__
    if int(version.partition(".")[0]) < 77:
        pytest.skip(f"setuptools {version} is older than 77")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(TREE),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("alfworld_lite-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as files:
        metadata = files.read(next(name for name in files.namelist() if name.endswith("METADATA"))).decode()
        assert all("extra ==" in line for line in metadata.splitlines() if line.startswith("Requires-Dist"))
        assert f"Version: {alfworld_lite.__version__}" in metadata
        assert {f"alfworld_lite/{path.relative_to(PACKAGE)}" for path in PACKAGE.rglob("*.py")} <= set(files.namelist())
    assert _played(wheel, train_games[0]) == [True, alfworld_lite.__version__, []]
