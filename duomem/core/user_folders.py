"""Where duomem keeps what is a user's: installed packs and students, what was learned while playing, settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from duomem.core.errors import FileError

HOME = "DUOMEM_HOME"
"""Variable that names the folder of all that duomem keeps for a user."""


def data_folder() -> Path:
    """$DUOMEM_HOME, else the platform's folder for a user's data. Raises FileError for a user without a home folder."""
    return _folder("XDG_DATA_HOME", ".local/share")


def config_folder() -> Path:
    """$DUOMEM_HOME, else the platform's folder for a user's settings. Raises FileError as data_folder does."""
    return _folder("XDG_CONFIG_HOME", ".config")


def cache_folder() -> Path:
    """$DUOMEM_HOME/cache, else the platform's folder for what can be made again. Raises as data_folder does."""
    return _folder("XDG_CACHE_HOME", ".cache") / "cache"


def _folder(variable: str, below_home: str) -> Path:
    if os.environ.get(HOME):
        return Path(os.environ[HOME])
    given = os.environ.get(variable, "")
    if sys.platform != "darwin" and os.path.isabs(given):
        return Path(given) / "duomem"
    try:
        home = Path.home()
    except RuntimeError:
        raise FileError(f"this user has no home folder: set {HOME} to a folder to write in") from None
    return home / ("Library/Application Support" if sys.platform == "darwin" else below_home) / "duomem"
