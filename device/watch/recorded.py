"""Episodes read back from their records: files of `duomem watch` and `duomem eval`, and teachers' trajectories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.errors import FileError
from duomem.core.files import read_jsonl
from duomem.core.trajectory import Trajectory, from_json
from duomem.device.agent.choice import Choice, are_texts, is_amount, read_choice
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
    if not are_texts(texts, _MOST_MEMORIES):
        raise FileError(f"{where}: field memory_texts is not a list of texts: record it again")
    if not isinstance(choices, list) or len(choices) not in (0, len(trajectory.steps)):
        raise FileError(f"{where}: field choices is not a list with one item a step: record it again")
    seconds, prefilled, decoded = (row.get(field) for field in ("seconds", "prefilled", "decoded"))
    return Recorded(
        trajectory,
        tuple(texts),
        tuple(_choice(choice, f"{where}: item {i} of field choices") for i, choice in enumerate(choices, 1)),
        seconds if is_amount(seconds) else None,
        int(prefilled) + int(decoded) if is_amount(prefilled) and is_amount(decoded) else None,
    )


def _choice(value: Any, where: str) -> Choice:
    choice = read_choice(value)
    if choice is None:
        raise FileError(f"{where} is not what `duomem eval` writes: record it again")
    return choice
