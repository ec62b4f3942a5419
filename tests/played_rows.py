"""Rows as `duomem eval` writes them, with why each command was chosen, for tests of what shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from episodes import episode

from duomem.core.resumable_jsonl import sidecar_of

HOSTILE = (
    "</script><script>document.title='owned'</script><!--<script>\u2028\u2029\u202e\x00\x1b]0;x\x07<img src=x> {{data}}"
)
"""What somebody may write who wants a page to run it, a terminal to obey it, or a reader to see something else."""
TYPES = ("pick_and_place_simple", "pick_two_obj_and_place", "look_at_obj_in_light")


def row(i: int, won: bool = True, steps: int = 3) -> dict[str, Any]:
    """Episode i of `steps` commands, of the task types in turn, with one memory; step 2 had a command withheld."""
    commands = tuple(f"take {{name}} {n}" for n in range(1, steps + 1))
    played = replace(episode(i, won=won, commands=commands), player="student:x", task_type=TYPES[i % len(TYPES)])
    choices = [
        {
            "candidates": [[step.action, 0.75], ["look", 0.2], ["go to\u2026", 0.004]],
            "withheld": ["go to desk 1"] if n == 1 else [],
            "seconds": 0.02 * (n + 1),
            "prefilled": 40 + n,
            "decoded": 6,
        }
        for n, step in enumerate(played.steps)
    ]
    return played.to_json() | {
        "memories": [f"memory-{i}"],
        "memory_texts": [f"put a thing in a place. 1. take thing {i}"],
        "seconds": 0.5,
        "prefilled": 100 + i,
        "decoded": 20,
        "ended": "won" if won else "steps",
        "choices": choices,
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """An episode file of the rows, and its record of inputs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    sidecar_of(path).write_text(json.dumps({"protocol": "free", "k": 1, "pack": None, "action_filter": True}))
    return path


def played(path: Path, outcomes: str) -> Path:
    """A file of a game for each letter, won where it is W; lost ones take five steps."""
    return write_rows(path, (row(i, letter == "W", 3 if letter == "W" else 5) for i, letter in enumerate(outcomes)))


def hostile(i: int = 0) -> dict[str, Any]:
    """A row in which every text that somebody else may have written is an attack."""
    told = row(i)
    for field in ("goal", "task_type", "intro", "last", "player", "group", "template_goal", "ended"):
        told[field] = HOSTILE
    for step in told["steps"]:
        step |= {"observation": HOSTILE, "action": HOSTILE, "thought": HOSTILE, "admissible": [HOSTILE]}
    for choice in told["choices"]:
        choice |= {"candidates": [[HOSTILE, 0.5]], "withheld": [HOSTILE]}
    return told | {"memories": [HOSTILE], "memory_texts": [HOSTILE], "extra": {HOSTILE: HOSTILE}}
