"""The import package itself: where its files are installed.

Used by whatever digests duomem's own code or packs it for a device.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

_SUFFIXES = (".py", ".toml", ".jsonl", ".sh", ".typed", ".lock")


def own_files(*folders: str) -> dict[str, Path]:
    """The package's files by their path below `duomem`, sorted: all of them, or those in the named folders."""
    root = Path(str(files("duomem")))
    found = {}
    for top in [root / folder for folder in folders] or [root]:
        for folder, names, file_names in os.walk(top, followlinks=True):
            names[:] = sorted(name for name in names if name != "__pycache__")
            for name in sorted(file_names):
                path = Path(folder) / name
                if name.endswith(_SUFFIXES) or path.parent.name == "starters":
                    found[path.relative_to(root).as_posix()] = path
    return found
