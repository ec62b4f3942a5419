"""An episode as files of others tell it: what was seen and said in turns, and beside it what only duomem keeps.

What a format has no place for goes into one field of ours, so that what was written reads back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from duomem.core.errors import TrajectoryError
from duomem.core.trajectory import Trajectory, from_json

OURS = "duomem"
"""The field that holds what a format has no place for."""

_THOUGHT, _ACTION = "Thought: ", "Action: "


@dataclass(frozen=True)
class Told:
    """observations: what the player saw, one before each command and one after the last, which foreign files may lack.
    said: the player's messages. heard: (thought, command) of each, None where only `said` is known. names: whatever may
    name the game. facts: what only duomem keeps, None in a file that others wrote.
    """

    observations: tuple[str, ...]
    said: tuple[str, ...]
    heard: tuple[tuple[str, str], ...] | None = None
    names: tuple[str, ...] = ()
    facts: Mapping[str, Any] | None = None


Readings = Iterator[tuple[str, Callable[[], Told]]]
"""What a format's reader gives for each episode: where it stands, and what reads it, which raises TrajectoryError if it
is none.
"""


def say(thought: str, action: str, marked: bool = False) -> str:
    """A step as a message of its player. marked: "Action: " stands before the command even if there is no thought."""
    if thought:
        return f"{_THOUGHT}{thought}\n{_ACTION}{action}"
    return f"{_ACTION}{action}" if marked else action


def hear(said: str) -> tuple[str, str]:
    """(thought, command) of a message that `say` wrote."""
    before, mark, action = said.rpartition(f"\n{_ACTION}")
    if mark and before.startswith(_THOUGHT):
        return before.removeprefix(_THOUGHT), action
    return "", said.removeprefix(_ACTION)


def told_of(played: Trajectory, marked: bool = False) -> Told:
    """A trajectory as it is told. marked: see `say`.

    Of its facts the last observation is left out; `steps` has an object for each step, with what a message of it does
    not say.
    """
    row = played.to_json()
    observations = (*(step.observation for step in played.steps), row.pop("last"))
    if row["intro"] == observations[0]:
        del row["intro"]
    heard = tuple((step.thought, step.action) for step in played.steps)
    said = tuple(say(*step, marked) for step in heard)
    for step, message in zip(row["steps"], said, strict=True):
        thought, action = hear(message)
        for field, value in (("thought", thought), ("action", action)):
            if (actual := step.pop(field, "")) != value:
                step[field] = actual
        del step["observation"]
    return Told(observations, said, heard, (), row)


def trajectory_of(told: Told, where: str) -> Trajectory:
    """The trajectory of an episode that duomem wrote. Raises TrajectoryError naming `where` and what is wrong."""
    facts = dict(told.facts or {})
    steps = facts.get("steps")
    if not isinstance(steps, list) or len(steps) != len(told.said) or not all(isinstance(s, dict) for s in steps):
        raise TrajectoryError(
            f"{where}: field {OURS}.steps does not have an object for each of {len(told.said)} steps: export it again"
        )
    if len(told.observations) != len(told.said) + 1:
        raise TrajectoryError(
            f"{where}: has {len(told.observations)} observations of {len(told.said)} steps: not one more"
        )
    heard = told.heard or tuple(map(hear, told.said))
    rows = []
    for observation, (thought, action), own in zip(told.observations, heard, steps, strict=False):
        row = {"action": action, "thought": thought, **own, "observation": observation}
        rows.append(row)
    facts.setdefault("intro", told.observations[0])
    return from_json({**facts, "steps": rows, "last": told.observations[-1]}, where)
