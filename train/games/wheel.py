"""The parts of the alfworld wheel the generator reads: rules, constants, goal library and layouts of scenes.

Files only: `import alfworld` is never executed, since it makes a folder in the user's home.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from duomem.core.errors import GameError

VERSION = "0.4.2"


@dataclass(frozen=True)
class Wheel:
    """alfworld 0.4.2 as installed in `folder`."""

    folder: Path

    @cached_property
    def domain(self) -> str:
        """The PDDL domain."""
        return self._text("data/alfred.pddl")

    @cached_property
    def grammar(self) -> str:
        """The TextWorld grammar, its goal sentence reading UNKNOWN GOAL."""
        return self._text("data/alfred.twl2")

    @cached_property
    def fits(self) -> Mapping[str, frozenset[str]]:
        """Receptacle type -> object types it can hold, movable receptacles included."""
        return {kind: frozenset(held) for kind, held in self._constants.VAL_RECEPTACLE_OBJECTS.items()}

    @cached_property
    def movable_receptacles(self) -> frozenset[str]:
        """Object types other objects can lie in."""
        return frozenset(self._constants.MOVABLE_RECEPTACLES)

    @cached_property
    def properties(self) -> Mapping[str, frozenset[str]]:
        """Cleanable, Heatable, Coolable, Toggleable, Sliceable -> object types."""
        return {name: frozenset(kinds) for name, kinds in self._constants.VAL_ACTION_OBJECTS.items()}

    @cached_property
    def floor_plans(self) -> Mapping[str, range]:
        """Kind of room ("Kitchen", ...) -> numbers of its floor plans."""
        return dict(self._constants.SCENE_TYPE)

    @cached_property
    def goals(self) -> Mapping[str, Mapping[str, Any]]:
        """Task type -> its `pddl` goal and sentence `templates`."""
        return dict(self._module("gen/goal_library.py").gdict)

    def layout(self, plan: int) -> tuple[Mapping[str, list[float]], list[str]]:
        """Of one floor plan: receptacle id -> where the player stands (x m, z m, rotation and horizon in
        degrees), and the object and receptacle types in the scene, sorted.
        """
        stem = f"gen/layouts/FloorPlan{plan}"
        views, types = (json.loads(self._text(f"{stem}-{part}.json")) for part in ("openable", "objects"))
        return views, sorted(types)

    @cached_property
    def _constants(self) -> ModuleType:
        return self._module("gen/constants.py")

    def _module(self, name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"alfworld_{Path(name).stem}", self.folder / name)
        if spec is None or spec.loader is None or not (self.folder / name).is_file():
            raise GameError(f"{self.folder / name}: missing from the alfworld package: {_INSTALL}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError as e:
            raise GameError(f"{self.folder / name}: cannot be read ({e.strerror}): {_INSTALL}") from None


_INSTALL = f"pip install --no-deps --force-reinstall alfworld=={VERSION}"


def find_wheel() -> Wheel:
    """The installed alfworld. Raises GameError with the pip command if it is absent or of another version."""
    spec = importlib.util.find_spec("alfworld")
    if spec is None or not spec.submodule_search_locations:
        raise GameError(
            "making games needs the files of the alfworld package (nothing it depends on): "
            f"pip install --no-deps alfworld=={VERSION}"
        )
    version = importlib.metadata.version("alfworld")
    if version != VERSION:
        raise GameError(f"making games needs alfworld {VERSION}, found {version}: {_INSTALL}")
    return Wheel(Path(next(iter(spec.submodule_search_locations))))
