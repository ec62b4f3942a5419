"""The import package itself: where its files are installed.

Used by whatever digests duomem's own code or packs it for a device.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from duomem.core.files import sha256_file

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


def own_digests(*folders: str) -> dict[str, str]:
    """The SHA-256 of each of `own_files(*folders)`: changed code is a changed product of it."""
    return {name: sha256_file(path) for name, path in own_files(*folders).items()}
