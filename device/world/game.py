"""The Game contract: what an agent and a trajectory have to know of a game, and a game of a small JSON file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from duomem.core.episode_words import TEMPLATE
from duomem.core.errors import GameError
from duomem.core.files import read_json, sha256_input

_LONGEST_GOAL = 500
_TASK_TYPE = re.compile(r"[a-z0-9_]{1,60}")


class Game(Protocol):
    """A game, told in some words. digest: sha256 of its file. group: its task and scene, "TASK-...-SCENE", by which
    memories and floor plans are left out. split: which one it is of. triple: what its goal is (task type, object,
    target), the last two "" where nothing is. task: the goal as told; template: in the game's own words; goal_source:
    whose words, see Trajectory. world: the name of its world.
    """

    @property
    def digest(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def triple(self) -> tuple[str, str, str]: ...

    @property
    def task(self) -> str: ...

    @property
    def template(self) -> str: ...

    @property
    def goal_source(self) -> str: ...

    @property
    def world(self) -> str: ...


@dataclass(frozen=True)
class JsonGame:
    """A game as a JSON object: `task_type`, `goal`, and what its world's engine reads from `data`. See Game."""

    world: str
    digest: str
    group: str
    split: str
    triple: tuple[str, str, str]
    task: str
    template: str
    goal_source: str = TEMPLATE
    data: Mapping[str, Any] = field(default_factory=dict)


def read_json_game(path: Path, world: str) -> JsonGame:
    """The game in a file ROOT/SPLIT/GROUP/NAME/FILE. Raises GameError naming the file and the field that is wrong."""
    data = read_json(path, "game")
    if not isinstance(data, dict) or data.get("world") != world:
        raise GameError(f"{path}: field world is not {world!r}: give a game of this world")
    task_type, goal = data.get("task_type"), data.get("goal")
    if not isinstance(task_type, str) or not _TASK_TYPE.fullmatch(task_type):
        raise GameError(f"{path}: field task_type is no word of letters, digits and _: make the game again")
    if not isinstance(goal, str) or not 0 < len(goal) <= _LONGEST_GOAL or not goal.isprintable():
        raise GameError(f"{path}: field goal is not a line of 1 to {_LONGEST_GOAL} letters: make the game again")
    group, split = path.parent.parent.name, path.parent.parent.parent.name
    return JsonGame(world, sha256_input(path, "game"), group, split, (task_type, "", ""), goal, goal, data=data)
