"""Episodes written for training tests: short, and easy to learn."""

from __future__ import annotations

import json
from pathlib import Path

from duomem.core.trajectory import Step, Trajectory


def write_episodes(path: Path, split: str = "train", won: bool = True, count: int = 12) -> Path:
    """`count` short episodes: the command is the object the goal names."""
    with open(path, "w") as f:
        for i in range(count):
            name = ("mug", "pen", "egg", "cup")[i % 4]
            goal = f"put a {name} in desk."
            commands = [f"take {name} {n}" for n in range(1 + i % 3)]
            steps = tuple(Step("You see.", ("look", command), command) for command in commands)
            played = Trajectory(
                f"{i:064x}",
                f"group-{i}",
                split,
                "pick_and_place_simple",
                goal,
                f"You see a desk 1.\nYour task is to: {goal}",
                steps,
                "Done.",
                won,
                "expert/1",
                0,
            )
            f.write(json.dumps(played.to_json()) + "\n")
    return path
