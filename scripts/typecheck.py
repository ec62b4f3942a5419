"""Run mypy over the tree as the import package it is: duomem.device is device/, and so on.

mypy cannot follow the package-dir mapping of pyproject.toml, so it gets a folder of links.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("base", "memory_packs", "device", "train", "compile", "report", "deploy", "cli")


def main() -> int:
    """Link the packages under build/types/duomem and check them; returns mypy's exit status."""
    links = ROOT / "build" / "types" / "duomem"
    links.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        link = links / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name, target_is_directory=True)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "duomem"]
    return subprocess.call(command, cwd=links.parent, env={**os.environ, "MYPYPATH": str(links.parent)})


if __name__ == "__main__":
    sys.exit(main())
