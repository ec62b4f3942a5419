"""The kinds of values a command takes: files, folders, student names, lists of numbers.

A file or folder is checked while the command line is read, so a wrong one is told before anything is loaded.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.core.errors import BundleError, FileError, ModelError

if TYPE_CHECKING:
    from duomem.train.config import StudentConfig

COUNT = click.IntRange(min=1)
"""A whole number of at least 1."""
CONTEXT = click.IntRange(min=64)
"""A number of context tokens; no model is compiled or played with fewer than 64."""


_WHOLE = re.compile(r"[0-9]{1,9}")


class Share(click.FloatRange):
    """A number from 0 to 1."""

    name = "share"

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        share = super().convert(value, param, ctx)
        if share != share:
            self.fail(f"{value} is not a number from 0 to 1.", param, ctx)
        return share


SHARE = Share()


class Annotation(click.ParamType):
    """The number of an annotation, from 0 on, or "all": None."""

    name = "annotation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        if value == "all":
            return None
        if not value.isdecimal() or len(value) > 4:
            self.fail(f"{value!r} is no number from 0 on, nor all.", param, ctx)
        return int(value)


ANNOTATION = Annotation()


class Sha256(click.ParamType):
    """A SHA-256 as 64 hex digits."""

    name = "sha256"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch("[0-9A-Fa-f]{64}", value):
            self.fail(f"{value!r} is no SHA-256: give the 64 hex digits that sha256sum prints.", param, ctx)
        return value.lower()


SHA256 = Sha256()


class Numbers(click.ParamType):
    """Whole numbers of at least `least`, separated by commas, each once; ascending if `ascending`."""

    name = "numbers"

    def __init__(self, least: int, ascending: bool = False) -> None:
        self._least = least
        self._ascending = ascending

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if not isinstance(value, str):
            return tuple(value)
        numbers: list[int] = []
        for part in value.split(","):
            if not _WHOLE.fullmatch(part.strip()) or int(part) < self._least:
                self.fail(f"{part!r} is not a whole number of at least {self._least}.", param, ctx)
            numbers.append(int(part))
        return tuple(sorted(set(numbers)) if self._ascending else dict.fromkeys(numbers))


class _Place(click.Path):
    """A path that `check` accepts; completed by the shell as a path."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        self.check(path)
        return path

    def check(self, path: Path) -> None:
        """Raises UserError if `path` cannot be what is asked for."""
        raise NotImplementedError


class InputPlace(_Place):
    """A file or folder that is there; `what` names it in errors ("memory pack")."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def check(self, path: Path) -> None:
        if not path.exists():
            raise FileError(f"{path}: no such {self._what}: check the path")


class InputFile(InputPlace):
    """A file that is there."""

    def check(self, path: Path) -> None:
        super().check(path)
        if path.is_dir():
            raise FileError(f"{path}: cannot read this {self._what}: Is a directory")


class PackFile(InputFile):
    """A memory pack: a file that is there, else the name of an installed one; who vouches for that is told."""

    def __init__(self) -> None:
        super().__init__("memory pack")

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_or_installed(value, "pack"), param, ctx)


def _or_installed(value: str | os.PathLike[str], kind: str) -> str | os.PathLike[str]:
    """`value` if something is there, else the path of what is installed under that name as `kind`, if anything is."""
    if os.path.lexists(value):
        return value
    from duomem.memory_packs.catalogue.store import find_installed

    found = find_installed(os.fspath(value))
    if found is None or found.kind != kind:
        return value
    click.echo(f"duomem: {found.said()}", err=True)
    return found.path


class Address(click.ParamType):
    """The address of a catalogue, or its folder on this machine."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from duomem.memory_packs.catalogue.sources import check_address

        return check_address(Path(value).resolve().as_uri() if os.path.isdir(value) else value)


class RayAddress(click.ParamType):
    """Where a Ray cluster is."""

    name = "ray address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from duomem.core.ray_pool import FORMS, is_address

        if not is_address(value):
            self.fail(f"{value!r} is no address of a Ray cluster: give {FORMS}", param, ctx)
        return value


class InputFolder(InputPlace):
    """A folder that is there."""

    def check(self, path: Path) -> None:
        if not path.is_dir():
            raise FileError(f"{path}: no such {self._what}: check the path")


class OutputFile(_Place):
    """A file to be written."""

    def check(self, path: Path) -> None:
        if path.is_dir():
            raise FileError(f"{path}: is a folder, a file is to be written there: give another place")
        _check_parents(path)


class OutputPlace(_Place):
    """A file or folder to be written."""

    def check(self, path: Path) -> None:
        _check_parents(path)


class OutputFolder(_Place):
    """A folder to be written."""

    def check(self, path: Path) -> None:
        if path.exists() and not path.is_dir():
            raise FileError(f"{path}: is a file, a folder is to be written there: give another place")
        _check_parents(path)


def _check_parents(path: Path) -> None:
    parent = next((folder for folder in path.absolute().parents if folder.exists()), None)
    if parent is not None and not parent.is_dir():
        raise FileError(f"{parent}: is a file: nothing can be written below it, give another place")


class BundleFolder(_Place):
    """A folder that `duomem compile` wrote, or the name of an installed one; its files are verified when it is read."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_or_installed(value, "bundle"), param, ctx)

    def check(self, path: Path) -> None:
        if not path.is_dir():
            raise BundleError(f"{path}: no such bundle folder: give a folder made by duomem compile")
        if not (path / "bundle.json").is_file():
            raise BundleError(f"{path / 'bundle.json'}: no such bundle: give a folder made by duomem compile")


class ModelFolder(_Place):
    """A Hugging Face model folder."""

    def check(self, path: Path) -> None:
        if not path.is_dir():
            raise ModelError(f"{path}: no such model folder: give a Hugging Face folder with a config.json")
        if not (path / "config.json").is_file():
            raise ModelError(f"{path}: no config.json in it: give a Hugging Face model folder")


class AdapterFolder(_Place):
    """A LoRA adapter in peft's format, or the name of an installed one."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_or_installed(value, "adapter"), param, ctx)

    def check(self, path: Path) -> None:
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            if not (path / name).is_file():
                raise ModelError(f"{path / name}: no such LoRA adapter: give a folder made by duomem train")


class Labelled(click.ParamType):
    """[LABEL=]PATH as (label, path), the label "" where there is none; `place` checks the path."""

    name = "labelled path"

    def __init__(self, place: _Place) -> None:
        self._place = place

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        if not isinstance(value, str):
            return value
        label, _, path = value.rpartition("=")
        return label, self._place.convert(path, param, ctx)


class Student(click.ParamType):
    """A student's config: a name in configs/students, or a TOML file."""

    name = "student"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StudentConfig:
        from duomem.configs import student_files
        from duomem.train.config import find_config

        if not value.endswith(".toml") and value not in student_files():
            self.fail(
                f"{value}: no such student: known are {', '.join(student_files())}; or give a TOML file", param, ctx
            )
        return find_config(value)
