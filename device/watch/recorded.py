"""Episodes read back from their records: files of `duomem watch` and `duomem eval`, and teachers' trajectories."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.errors import FileError
from duomem.core.files import read_jsonl
from duomem.core.trajectory import Trajectory, from_json
from duomem.device.agent.choice import MAX_CANDIDATES, Choice
from duomem.device.watch.story import Story

_MOST_MEMORIES = 100
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Recorded:
    """An episode. memories: texts of those shown. choices: one a step, or none. seconds, tokens: what it took, None
    where that is not recorded.
    """

    trajectory: Trajectory
    memories: tuple[str, ...]
    choices: tuple[Choice, ...]
    seconds: float | None
    tokens: int | None

    def story(self) -> Story:
        """All its moments."""
        story = Story()
        story.start(self.trajectory.intro, self.memories)
        for i, (command, observation) in enumerate(self.trajectory.turns()):
            story.step(command, observation, self.choices[i] if self.choices else None)
        story.end(f"{self.outcome} {self.cost}", self.trajectory.won)
        return story

    @property
    def outcome(self) -> str:
        """won or lost."""
        return "won" if self.trajectory.won else "lost"

    @property
    def cost(self) -> str:
        """What it took, in words."""
        parts = [f"in {len(self.trajectory.steps)} steps"]
        if self.seconds is not None:
            parts.append(f"{self.seconds:.1f} s")
        if self.tokens:
            parts.append(f"{self.tokens} tokens")
        return ", ".join(parts)


def read_recorded(path: Path) -> Iterator[Recorded]:
    """The episodes of a file. Raises UserError naming the line and field that is wrong."""
    for number, row in enumerate(read_jsonl(path, "episode file"), 1):
        yield _recorded(row, f"{path}: line {number}")


def _recorded(row: dict[str, Any], where: str) -> Recorded:
    trajectory = from_json(row, where)
    if len(trajectory.steps) > _MOST_STEPS:
        raise FileError(f"{where}: field steps has more than {_MOST_STEPS} steps: not shown")
    texts, choices = row.get("memory_texts", []), row.get("choices", [])
    if not isinstance(texts, list) or len(texts) > _MOST_MEMORIES or not all(isinstance(text, str) for text in texts):
        raise FileError(f"{where}: field memory_texts is not a list of texts: record it again")
    if not isinstance(choices, list) or len(choices) not in (0, len(trajectory.steps)):
        raise FileError(f"{where}: field choices is not a list with one item a step: record it again")
    tokens = [row.get(field) for field in ("prefilled", "decoded")]
    return Recorded(
        trajectory,
        tuple(texts),
        tuple(_choice(choice, f"{where}: item {i} of field choices") for i, choice in enumerate(choices, 1)),
        row["seconds"] if _is_number(row.get("seconds")) else None,
        sum(int(n) for n in tokens) if all(map(_is_number, tokens)) else None,  # type: ignore[arg-type]
    )


def _choice(row: Any, where: str) -> Choice:
    """A Choice of untrusted JSON."""
    fields = row if isinstance(row, dict) else {}
    candidates, withheld = fields.get("candidates"), fields.get("withheld")
    numbers = [fields.get(name) for name in ("seconds", "prefilled", "decoded")]
    if (
        not isinstance(candidates, list)
        or not isinstance(withheld, list)
        or not all(map(_is_candidate, candidates))
        or not all(isinstance(command, str) for command in withheld)
        or not all(map(_is_number, numbers))
    ):
        raise FileError(f"{where} is not what `duomem eval` writes: record it again")
    seconds, prefilled, decoded = numbers
    return Choice(
        tuple((command, float(p)) for command, p in candidates[:MAX_CANDIDATES]),
        tuple(withheld),
        float(seconds),  # type: ignore[arg-type]
        int(prefilled),  # type: ignore[arg-type]
        int(decoded),  # type: ignore[arg-type]
    )


def _is_candidate(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and _is_number(value[1])


def _is_number(value: Any) -> bool:
    """Whether it is a number of at least 0 that can be shown."""
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15 and math.isfinite(value)
    )
