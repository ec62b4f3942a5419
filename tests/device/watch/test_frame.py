"""A drawn moment fits its terminal, shows what there is to know, and cannot be used to write to the terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from duomem.device.agent.choice import Choice
from duomem.device.watch.frame import draw
from duomem.device.watch.story import Moment, Story

INTRO = (
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 3, a cabinet 2, a cabinet 1, "
    "a desk 1, and a fridge 1.\n\nYour task is to: put a mug in desk."
)
CHOICE = Choice(
    (("take mug 1 from fridge 1", 0.75), ("go to desk 1", 0.2), ("close…", 0.002)), ("look", "help"), 0.5, 90, 10
)
COMMANDS = [f"go to cabinet {i}" for i in range(1, 30)] + [
    "look",
    "take mug 1 from fridge 1",
    "take mug 2 from fridge 1",
]


@pytest.fixture
def story() -> Story:
    story = Story(50)
    story.start(INTRO, ["put a mug in desk. 1. search fridge; 2. take mug from fridge; 3. move mug to desk;", "other."])
    story.step(
        "go to fridge 1", "You arrive at fridge 1. The fridge 1 is open. In it, you see a mug 1, and a egg 2.", None
    )
    story.step("take mug 1 from fridge 1", "You pick up the mug 1 from the fridge 1.", CHOICE)
    return story


def _drawn(moment: Moment, width: int = 80, height: int = 23, player: str = "student", **more: object) -> list[str]:
    """The rows of a frame. No escape code but colours is let through by the test that reads them."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, force_terminal=True)
    console.print(draw(moment, player, width, height, **more))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_it_shows_what_there_is(story: Story) -> None:
    text = "\n".join(_drawn(story.now))
    for part in (
        "step 2 of 50, 200 tokens/s",
        "goal  put a mug in desk.",
        "▸ fridge 1  egg 2",
        "not seen  cabinet 1-3, desk 1",
        "holding mug 1",
        "▸ take mug 1 from fridge 1",
        "75%",
        "20%",
        "<1%",
        "withheld  look, help",
        "memory, the first of 2",
        "3. move mug to desk",
        "also  other.",
        "> take mug 1 from fridge 1",
        "You pick up the mug 1 from the fridge 1.",
    ):
        assert part in text, part


def test_a_longer_bar_is_a_likelier_command(story: Story) -> None:
    bars = [sum(line.count(c) for c in "█▉▊▋▌▍▎▏") for line in _drawn(story.now) if "%" in line]
    assert bars == sorted(bars, reverse=True) and bars[0] > bars[1] >= bars[2] > 0


@pytest.mark.parametrize("size", [(80, 23), (60, 20), (100, 40), (200, 60), (10, 5)])
@pytest.mark.parametrize("commands", [(), COMMANDS])
def test_it_fits(story: Story, size: tuple[int, int], commands: list[str]) -> None:
    width, height = max(60, size[0]), max(20, size[1])
    for moment in (*story.moments, replace(story.now, ended="won in 2 steps", won=True, memories=())):
        lines = _drawn(moment, width, height, commands=commands)
        assert len(lines) <= height and max(map(len, lines)) <= width
        if not commands:
            assert len(lines) == height


def test_a_person_sees_every_command_with_its_number(story: Story) -> None:
    text = " ".join(" ".join(_drawn(story.now, commands=COMMANDS, hint="go to desk 1")).split())
    for number, command in enumerate(COMMANDS, 1):
        assert f"{number} {command.removeprefix('go to ').removeprefix('take ')}" in text
    assert "▸ go to desk 1" in text


def test_what_was_not_told_is_said_so(story: Story) -> None:
    assert "no model chose it" in "\n".join(_drawn(story.moments[1]))
    assert "nothing chosen yet" in "\n".join(_drawn(story.moments[0]))
    unknown = Story()
    unknown.start("A dungeon.")
    text = "\n".join(_drawn(unknown.now))
    assert "not told" in text and "memory" not in text


EVIL = "[bold red]x[/] \x1b[2J\x1b]0;t\x07 \u202e\u0085 \u2028 \x9b31m [link=http://a]b[/link]"


def test_no_text_reaches_the_terminal_as_anything_but_text() -> None:
    story = Story()
    story.start(f"{INTRO[:-1]} {EVIL}.", [f"{EVIL} 1. {EVIL}; 2. b;"])
    story.step(
        EVIL, f"You arrive at desk 1. On the desk 1, you see a {EVIL}.", Choice(((EVIL, 0.5),), (EVIL,), 1, 1, 1)
    )
    story.end(EVIL, False)
    text = "\n".join(_drawn(story.now, player=EVIL, commands=[EVIL]))
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "[bold red]x[/]" in text and "[/link]" in text
