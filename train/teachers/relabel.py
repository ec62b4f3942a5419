"""Relabelling: the episodes of a trajectory file told again in people's words, without playing them again.

Any teacher's file will do; only the goal sentence changes, in the record and in the first observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from duomem.core.errors import TrainError
from duomem.core.files import sha256_input
from duomem.core.reading import digest_of
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.trajectory import Trajectory, read_trajectories
from duomem.device.alfworld.annotations import Goals, told_record


def relabel(trajectories: Path, games: Sequence[Path], goals: Goals, out: Path) -> dict[str, int]:
    """Write every episode of a trajectory file to `out` once for each sentence of `goals`.

    games: the files of the games that were played, others may be among them. Returns {"games", "won", "steps"}.
    Raises TrainError for an episode of a game that is not among them, GameError for one without annotations.
    """
    played = list(read_trajectories(trajectories))
    paths = {sha256_input(path, "game"): path for path in games}
    for number, t in enumerate(played, 1):
        if t.game not in paths:
            raise TrainError(
                f"{trajectories}: line {number}: field game: {t.game[:12]} is none of these games: give the --games "
                "and --split that were played"
            )
    tasks = goals.tasks([paths[t.game] for t in played])
    inputs = {"relabel": sha256_input(trajectories, "trajectory file"), "games": digest_of(sorted(paths))}
    with ResumableJsonl(out, inputs | told_record(goals, tasks)) as lines:
        if not lines.done:
            rows = [row for t in played for row in _told(t, paths[t.game], goals)]
            for row in rows[len(lines.rows) :]:
                lines.append(row.to_json())
            lines.finish()
        return {
            "games": len(lines.rows),
            "won": sum(bool(row["won"]) for row in lines.rows),
            "steps": sum(len(row["steps"]) for row in lines.rows),
        }


def _told(trajectory: Trajectory, path: Path, goals: Goals) -> list[Trajectory]:
    """The episode in each of the sentences."""
    before, after = f"Your task is to: {trajectory.goal}", "Your task is to: "
    found = []
    for task in goals.tasks([path]):
        goal = task.sentence() or trajectory.template_goal
        intro = trajectory.intro.replace(before, after + goal)
        steps = tuple(replace(s, observation=s.observation.replace(before, after + goal)) for s in trajectory.steps)
        found.append(replace(trajectory, goal=goal, goal_source=task.goal_source, intro=intro, steps=steps))
    return found
