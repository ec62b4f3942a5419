"""One procedural memory, an entry of a pack: a goal, and what reached it; memory_format.py writes them.

Read from downloaded packs: everything in one is checked, and what is not text is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

from duomem.core.errors import PackError
from duomem.core.reading import digest_of

KINDS = ("script", "trajectory", "avoid")
MAX_SOURCES = 1_000
"""Most games that an entry says it was won in."""

Source = tuple[str, str]
"""(digest of a game file, its task-and-scene folder): where a memory comes from."""

_LINES = ("task", "task_type", "object_type", "target_type")
_FIELDS = {"kind", *_LINES, "steps", "sources"}
_LETTERS = 500
_STEPS = 100
_PHRASINGS = 20


@dataclass(frozen=True)
class Memory:
    """One procedural memory.

    task: the title, the game's own goal sentence, never a person's. task_type: of ALFWorld's six. object_type,
    target_type: what the goal is about, "" where nothing is (see Trajectory). steps: what reached the goal, a phrase a
    step. game, group: of the episode that the steps are of, so that it can be left out. kind: of KINDS. phrasings:
    other ways to say the task, which nobody is shown. others: further games that support the entry, see consolidate.py.
    """

    task: str
    task_type: str
    object_type: str
    target_type: str
    steps: tuple[str, ...]
    game: str
    group: str
    kind: str = "script"
    phrasings: tuple[str, ...] = ()
    others: tuple[Source, ...] = ()

    @property
    def triple(self) -> tuple[str, str, str]:
        """What the goal is: (task type, object type, target type)."""
        return self.task_type, self.object_type, self.target_type

    @property
    def sources(self) -> tuple[Source, ...]:
        """All games that support it, first the one that the steps are of."""
        return ((self.game, self.group), *self.others)

    @property
    def id(self) -> str:
        """First 16 hex digits of the digest of what it says. Where it comes from is no part of it, so the same entry
        has the same id in every pack.
        """
        return digest_of(self._says())[:16]

    def without(self, games: Collection[str] = (), groups: Collection[str] = ()) -> Memory | None:
        """The memory as a pack built without these games and groups would hold it; None if nothing else supports it.

        Supporters of an entry took the same steps and found things in the same places, so what it says stands as long
        as one is left.
        """
        kept = [(game, group) for game, group in self.sources if game not in games and group not in groups]
        return replace(self, game=kept[0][0], group=kept[0][1], others=tuple(kept[1:])) if kept else None

    def text(self) -> str:
        """As the student reads it: "put a clean mug in shelf. 1. search desk, table; 2. take mug ..."."""
        return " ".join([self.task, *(f"{i}. {step};" for i, step in enumerate(self.steps, 1))])

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, one line of a pack."""
        said = self._says()
        if not self.phrasings:
            del said["phrasings"]
        return {**said, "sources": [list(source) for source in self.sources]}

    def _says(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            **{field: getattr(self, field) for field in _LINES},
            "steps": list(self.steps),
            "phrasings": list(self.phrasings),
        }


def memory_from_json(row: Any, where: str) -> Memory:
    """A Memory of untrusted JSON; UserError naming `where` and the field that is wrong."""

    def refuse(field: str, why: str) -> PackError:
        return PackError(f"{where}: field {field} {why}: download the pack again")

    if not isinstance(row, dict):
        raise PackError(f"{where} is not a JSON object: download the pack again")
    for field in _LINES:
        if not is_line(row.get(field), _LETTERS):
            raise refuse(field, f"is not a line of at most {_LETTERS} characters")
    if row.get("kind") not in KINDS:
        raise refuse("kind", f"is none of {', '.join(KINDS)}")
    if not _are_lines(row.get("steps"), _STEPS) or not row["steps"]:
        raise refuse("steps", f"is not a list of 1 to {_STEPS} short lines")
    if not _are_lines(row.get("phrasings", []), _PHRASINGS):
        raise refuse("phrasings", f"is not a list of at most {_PHRASINGS} short lines")
    sources = row.get("sources")
    if not isinstance(sources, list) or not 0 < len(sources) <= MAX_SOURCES or not all(map(_is_source, sources)):
        raise refuse("sources", f"is not a list of 1 to {MAX_SOURCES} pairs of a game and its group")
    if unknown := row.keys() - _FIELDS - {"phrasings"}:
        raise refuse(repr(min(unknown))[:40], "is none that a memory has")
    (game, group), *others = map(tuple, sources)
    lines = {field: row[field] for field in _LINES}
    return Memory(
        **lines,
        steps=tuple(row["steps"]),
        game=game,
        group=group,
        kind=row["kind"],
        phrasings=tuple(row.get("phrasings", ())),
        others=tuple(others),
    )


def is_line(value: Any, longest: int) -> bool:
    """Whether it is text of at most `longest` characters, all of them to be seen: no control characters, nothing of no
    width, no marks that turn the direction of writing, no halves of surrogate pairs.
    """
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _are_lines(values: Any, most: int) -> bool:
    return isinstance(values, list) and len(values) <= most and all(map(is_line, values, repeat(_LETTERS)))


def _is_source(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_line, value, repeat(_LETTERS)))
