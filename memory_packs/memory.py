"""One procedural memory: a goal and the instance-free procedure that reached it.

Written from a successful trajectory, in the script form of DuoMem (arXiv 2606.29961).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import digest_of
from duomem.base.trajectory import Trajectory

_NUMBER = re.compile(r" \d+")
_LONGEST_SEARCH = 5


@dataclass(frozen=True)
class Memory:
    """task: the goal sentence it was written for; steps: the procedure, a phrase a step, without instance
    numbers; game, group: where it comes from (see Trajectory), so that it can be left out.
    """

    task: str
    family: str
    steps: tuple[str, ...]
    game: str
    group: str

    @property
    def id(self) -> str:
        """First 16 hex digits of the digest of its content."""
        return digest_of(asdict(self))[:16]

    def text(self) -> str:
        """As the student reads it: "put a clean mug in shelf. 1. search desk, table; 2. take mug ..."."""
        return " ".join([self.task, *(f"{i}. {step};" for i, step in enumerate(self.steps, 1))])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def memory_from_json(row: Any, where: str) -> Memory:
    """A Memory of untrusted JSON; UserError naming `where` and the field that is wrong."""
    if not isinstance(row, dict):
        raise UserError(f"{where} is not a JSON object: download the pack again")
    for field in ("task", "family", "game", "group"):
        if not isinstance(row.get(field), str) or len(row[field]) > 500 or not row[field].isprintable():
            raise UserError(f"{where}: field {field} is not a line of at most 500 characters: download the pack again")
    steps = row.get("steps")
    good = isinstance(steps, list) and 0 < len(steps) <= 100 \
        and all(isinstance(s, str) and len(s) <= 500 and s.isprintable() for s in steps)
    if not good or not isinstance(steps, list):
        raise UserError(f"{where}: field steps is not a list of 1 to 100 short lines: download the pack again")
    return Memory(row["task"], row["family"], tuple(steps), row["game"], row["group"])


def write_memory(trajectory: Trajectory) -> Memory:
    """The procedure behind a successful trajectory: places searched for a thing to take or use folded into one
    step, opening and looking and what the game did not take left out, stumbles too, no instance numbers.
    """
    actions = [s.action for s in trajectory.steps
               if not s.stumble and (s.action in s.admissible or s.action.startswith("go to "))]
    return Memory(trajectory.goal, trajectory.family, tuple(_procedure(actions)), trajectory.game, trajectory.group)


def _procedure(actions: Sequence[str]) -> list[str]:
    steps: list[str] = []
    visited: list[str] = []
    for action in actions:
        command = _NUMBER.sub("", action)
        verb = command.split(" ", 1)[0]
        if verb == "go":
            visited.append(command.removeprefix("go to "))
        elif verb not in ("open", "close", "examine", "look", "inventory", "help"):
            places = list(dict.fromkeys(visited))
            found = verb == "take" or not (" with " in command or " to " in command)
            if found and places:
                steps.append("search " + ", ".join(places[:_LONGEST_SEARCH]))
            elif visited:
                steps.append("go to " + visited[-1])
            steps.append(command)
            visited = []
    return steps
