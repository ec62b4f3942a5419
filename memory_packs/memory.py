"""One procedural memory: a goal, and what reached it; memory_format.py writes them.

Read from downloaded packs: everything in one is checked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from duomem.core.errors import PackError
from duomem.core.files import digest_of

_LINES = ("task", "task_type", "object_type", "target_type", "game", "group")


@dataclass(frozen=True)
class Memory:
    """One procedural memory.

    task: the game's own goal sentence, never a person's. task_type: of ALFWorld's six. object_type, target_type: what
    the goal is about, "" where nothing is (see Trajectory). steps: what reached the goal, a phrase a step. game, group:
    where it comes from, so that it can be left out.
    """

    task: str
    task_type: str
    object_type: str
    target_type: str
    steps: tuple[str, ...]
    game: str
    group: str

    @property
    def triple(self) -> tuple[str, str, str]:
        """What the goal is: (task type, object type, target type)."""
        return self.task_type, self.object_type, self.target_type

    @property
    def id(self) -> str:
        """First 16 hex digits of the digest of its content."""
        return digest_of(asdict(self))[:16]

    def text(self) -> str:
        """As the student reads it: "put a clean mug in shelf. 1. search desk, table; 2. take mug ..."."""
        return " ".join([self.task, *(f"{i}. {step};" for i, step in enumerate(self.steps, 1))])

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, one line of a pack."""
        return asdict(self)


def memory_from_json(row: Any, where: str) -> Memory:
    """A Memory of untrusted JSON; UserError naming `where` and the field that is wrong."""
    if not isinstance(row, dict):
        raise PackError(f"{where} is not a JSON object: download the pack again")
    for field in _LINES:
        if not isinstance(row.get(field), str) or len(row[field]) > 500 or not row[field].isprintable():
            raise PackError(f"{where}: field {field} is not a line of at most 500 characters: download the pack again")
    steps = row.get("steps")
    good = (
        isinstance(steps, list)
        and 0 < len(steps) <= 100
        and all(isinstance(s, str) and len(s) <= 500 and s.isprintable() for s in steps)
    )
    if not good or not isinstance(steps, list):
        raise PackError(f"{where}: field steps is not a list of 1 to 100 short lines: download the pack again")
    return Memory(**{field: row[field] for field in _LINES}, steps=tuple(steps))
