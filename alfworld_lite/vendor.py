"""Copies the engine out of duomem's tree into this package: one source, two names.

`python vendor.py FOLDER` writes a whole `alfworld_lite` package below FOLDER, to use without building a wheel.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "alfworld_lite"
MODULES = {
    "device/alfworld": (
        "alfworld_env", "annotations", "dialect", "game", "game_files", "goal", "names", "pddl", "stage",
    ),
    "device/world": ("env",),
    "duomem/core": ("episode_words", "errors", "reading"),
    "train/games": ("generator", "goals", "layouts", "placement", "planner", "problem", "wheel"),
}  # fmt: skip
"""Folder of duomem's tree -> its modules that go into alfworld_lite/_engine."""
_NOTE = f"# Copied from {{source}} of duomem by {PACKAGE}/vendor.py: edit it there.\n"
_IMPORT = re.compile(r"^( *)from duomem\.(?:device\.(?:alfworld|world)|core|train\.games)\.(\w+) import ", re.MULTILINE)


def vendor(tree: Path, package: Path) -> None:
    """Write the modules of the duomem tree `tree` to `package`/_engine, their imports renamed.

    Raises ValueError for a module that imports anything else of duomem.
    """
    engine = package / "_engine"
    shutil.rmtree(engine, ignore_errors=True)
    engine.mkdir()
    (engine / "__init__.py").write_text('"""The engine, as duomem has it; what is public is in alfworld_lite."""\n')
    known = {name for names in MODULES.values() for name in names}
    for folder, names in MODULES.items():
        for name in names:
            source = f"{folder}/{name}.py"
            text = _IMPORT.sub(rf"\1from {PACKAGE}._engine.\2 import ", (tree / source).read_text(encoding="utf-8"))
            missing = set(re.findall(rf"from {PACKAGE}\._engine\.(\w+) import", text)) - known
            if missing or re.search(r"^ *(from|import) duomem\b", text, re.MULTILINE):
                raise ValueError(f"{source} imports of duomem what {PACKAGE} has not: {', '.join(sorted(missing))}")
            (engine / f"{name}.py").write_text(_NOTE.format(source=source) + text, encoding="utf-8")


def assemble(folder: Path) -> None:
    """Write the package, engine included, below `folder`, which exists."""
    shutil.copytree(HERE / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("_engine", "__pycache__"))
    vendor(HERE.parent, folder / PACKAGE)


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
