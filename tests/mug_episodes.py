"""Episodes with rooms, places and things, as writers of memories are shown them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.core.trajectory import Step, Trajectory

WON = (
    ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a vase 1."),
    ("go to desk 2", "You arrive at desk 2. On the desk 2, you see a mug 3, and a pen 1."),
    ("take mug 3 from desk 2", "You pick up the mug 3 from the desk 2."),
    ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."),
    ("clean mug 3 with sinkbasin 1", "You clean the mug 3 using the sinkbasin 1."),
    ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a vase 1."),
    ("move mug 3 to shelf 1", "You move the mug 3 to the shelf 1."),
)
FROM_SHELF = [(c.replace("desk 2", "shelf 2"), o.replace("desk 2", "shelf 2")) for c, o in WON[1:]]
"""Another solution: the mug is on a shelf."""
SCRIPT = (
    "search shelf, desk",
    "take mug from desk",
    "go to sinkbasin",
    "clean mug with sinkbasin",
    "go to shelf",
    "move mug to shelf",
)
"""The program's script of WON."""
LIST = "\n".join(f"{number}. {step}" for number, step in enumerate(SCRIPT, 1))
LOST = (
    ("go to desk 2", "You arrive at desk 2. On the desk 2, you see a mug 3."),
    ("take mug 3 from desk 2", "You pick up the mug 3 from the desk 2."),
    ("heat mug 3 with toaster 1", NOTHING_HAPPENS),
)


def told(number: int = 0, turns: Sequence[tuple[str, str]] = WON, won: bool = True, scene: str = "301") -> Trajectory:
    """An episode of game `number`: a clean mug into the shelf."""
    goal = "put a clean mug in shelf."
    intro = (
        f"You are in a room. Looking around, you see a desk 2, a shelf 1, and a sinkbasin 1.\n\nYour task is to: {goal}"
    )
    steps, seen = [], intro
    for action, after in turns:
        offered = () if after == NOTHING_HAPPENS else (action,)
        steps.append(Step(seen, ("look", *offered), action))
        seen = after
    group = f"pick_clean_then_place_in_recep-Mug-None-Shelf-{scene}"
    kind = "pick_clean_then_place_in_recep"
    names = f"{number:064x}", group, "train", kind, "mug", "shelf", goal, "template", goal, intro
    return Trajectory(*names, tuple(steps), seen, won, "llm:some-model", 0)


def games(count: int) -> list[Trajectory]:
    """Games 0 to `count`, each with a mug of its own number, so that nobody is shown the same."""
    return [
        told(i, [(c.replace("mug 3", f"mug {i}"), o.replace("mug 3", f"mug {i}")) for c, o in WON])
        for i in range(count)
    ]


def write_told(path: Path, episodes: Sequence[Trajectory]) -> Path:
    """A trajectory file of them."""
    path.write_text("".join(json.dumps(t.to_json()) + "\n" for t in episodes))
    return path
