"""Episodes written for training tests: short, and easy to learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from duomem.core.trajectory import Step, Trajectory


def episode(i: int, split: str = "train", won: bool = True, commands: tuple[str, ...] = ()) -> Trajectory:
    """A short episode: the command is the object the goal names, {name} in `commands` stands for it."""
    name = ("mug", "pen", "egg", "cup")[i % 4]
    goal = f"put a {name} in desk."
    commands = commands or tuple(f"take {{name}} {n}" for n in range(1 + i % 3))
    named = [command.format(name=name) for command in commands]
    return Trajectory(
        f"{i:064x}",
        f"group-{i}",
        split,
        "pick_and_place_simple",
        name,
        "desk",
        goal,
        "template",
        goal,
        f"You see a desk 1.\nYour task is to: {goal}",
        tuple(Step("You see.", ("look", command), command) for command in named),
        "Done.",
        won,
        "expert/1",
        0,
    )


def write_episodes(path: Path, split: str = "train", won: bool = True, count: int = 12) -> Path:
    """`count` short episodes, a line each."""
    path.write_text("".join(json.dumps(episode(i, split, won).to_json()) + "\n" for i in range(count)))
    return path


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    """An episode file's row without what differs from run to run."""
    choices = [{**choice, "seconds": None} for choice in row.get("choices", [])]
    return {**row, "seconds": None, "choices": choices}
