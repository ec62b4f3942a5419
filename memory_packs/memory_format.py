"""Writing a memory from a won episode, in one of the formats of DuoMem (arXiv 2606.29961).

A script is free of instance numbers; a trajectory is what was played; lessons say what did nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.core.trajectory import Trajectory
from duomem.memory_packs.memory import Memory

MEMORY_FORMATS = {"script": "script", "trajectory": "trajectory", "script+trajectory": "trajectory", "avoid": "avoid"}
"""The kind of memory (memory.KINDS) that each format writes: a trajectory is whatever names instances."""

_NUMBER = re.compile(r" \d+")
_LONGEST_SEARCH = 5
MAX_STEPS = 60
"""Most steps of a memory; an episode has 50."""


def write_memory(trajectory: Trajectory, memory_format: str = "script", max_steps: int = MAX_STEPS) -> Memory:
    """The memory of a won episode; steps of noise injection are left out.

    memory_format: one of MEMORY_FORMATS. max_steps: most steps, what follows them is left out.

    script: the procedure: places searched for a thing to take or use folded into one step, opening, looking and
    what the game did not take left out. trajectory: every command of its player. script+trajectory: both.
    avoid: the script, and the kinds of command that did nothing.
    """
    own = [s.action for s in trajectory.steps if not s.is_noise]
    taken = [
        s.action
        for s in trajectory.steps
        if not s.is_noise and (s.action in s.admissible or s.action.startswith("go to "))
    ]
    script = _procedure(taken)
    steps = {
        "script": script,
        "trajectory": own,
        "script+trajectory": [*script, *own],
        "avoid": [*script, *_lessons(trajectory)],
    }[memory_format]
    return Memory(
        trajectory.template_goal,
        trajectory.task_type,
        trajectory.object_type,
        trajectory.target_type,
        tuple(steps[:max_steps]),
        trajectory.game,
        trajectory.group,
        MEMORY_FORMATS[memory_format],
    )


def _lessons(trajectory: Trajectory) -> list[str]:
    """What did nothing and where: "avoid use desklamp at dresser"."""
    lessons, place = [], ""
    for action, observation in trajectory.turns():
        if observation != NOTHING_HAPPENS:
            place = f" at {_NUMBER.sub('', action.removeprefix('go to '))}" if action.startswith("go to ") else place
        elif action.startswith("go to "):
            lessons.append(f"avoid {action}")
        else:
            lessons.append(f"avoid {_NUMBER.sub('', action)}{place}")
    return list(dict.fromkeys(lessons))


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
