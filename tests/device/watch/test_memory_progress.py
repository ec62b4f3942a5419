"""Which line of a memory comes next."""

from __future__ import annotations

import pytest

from duomem.device.watch.memory_progress import MemoryProgress
from duomem.memory_packs.memory import Memory

MEMORY = Memory(
    "put a clean mug in desk.",
    "pick_clean_then_place_in_recep",
    "mug",
    "desk",
    ("search shelf, bed", "take mug from shelf", "go to sink", "clean mug with sink", "go to desk", "move mug to desk"),
    "0" * 64,
    "g",
)


def test_it_is_read_from_what_the_student_reads() -> None:
    read = MemoryProgress.of(MEMORY.text())
    assert (read.title, read.steps, read.current) == (MEMORY.task, MEMORY.steps, 0)
    assert MemoryProgress.of("no steps") == MemoryProgress("no steps", ())


@pytest.mark.parametrize(
    ("commands", "current"),
    [
        (["go to bed 1"], 0),
        (["go to sink 1", "go to desk 1"], 0),
        (["take mug 2 from bed 1"], 2),
        (["take mug 2 from shelf 1", "go to sink 1", "clean mug 2 with sink 1"], 4),
        (["take mug 1 from bed 1", "clean mug 1 with sink 1", "go to shelf 1", "move mug 1 to desk 1", "look"], 6),
    ],
)
def test_it_follows_commands(commands: list[str], current: int) -> None:
    read = MemoryProgress.of(MEMORY.text())
    for command in commands:
        read = read.after(command)
    assert read.current == current
