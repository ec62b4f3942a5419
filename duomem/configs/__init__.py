"""Students, targets and devices as data: a new student or target is a new TOML file, a device an entry of devices.toml.

They are read from wherever the package is installed; only the kit's installer ever runs from a zip, and it reads none.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def student_files() -> dict[str, Path]:
    """The student configs by name, sorted."""
    return _toml_files("students")


def target_files() -> dict[str, Path]:
    """The target files by name, sorted."""
    return _toml_files("targets")


def devices_file() -> Path:
    """The public figures of devices that are not here."""
    return Path(str(files(__name__) / "devices.toml"))


def _toml_files(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(Path(str(files(__name__) / folder)).glob("*.toml"))}
