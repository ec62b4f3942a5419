"""A scene is read from the intro alone; what was not looked into is told where an episode gets nowhere."""

from __future__ import annotations

import pytest

from duomem.core.errors import UserError
from duomem.core.scene import receptacles
from duomem.device.alfworld.exploration import ExplorationTracker, summary

INTRO = "You are in the middle of a room. Looking quickly around you, you see a desk 1, a drawer 2, and a drawer 1."


def test_reading_an_intro() -> None:
    assert receptacles(INTRO) == ["desk 1", "drawer 2", "drawer 1"]
    assert receptacles("You see nothing.") == []
    assert summary([]) == "" and summary(receptacles(INTRO)) == "desk 1, drawer 1-2"
    assert summary(["b 2"]) == "b 2" and summary(["b 3", "a 1", "b 1"]) == "b 1+3, a 1"


@pytest.mark.parametrize("name", ["fish", "fish x", "fish " + "9" * 5000, "fish \u00b2"])
def test_places_without_a_number(name: str) -> None:
    with pytest.raises(UserError, match="not an ALFWorld game"):
        summary([name])


def test_what_was_not_looked_into_is_told_only_where_nothing_new_was_said() -> None:
    tracker = ExplorationTracker(INTRO)
    desk = "You arrive at desk 1. On the desk 1, you see a pen 1."
    assert tracker.observe("go to desk 1", desk) == ""
    assert tracker.observe("go to drawer 1", "You arrive at drawer 1. The drawer 1 is closed.") == ""
    assert tracker.observe("go to drawer 3", "Nothing happens.") == "Not seen yet: drawer 1-2."  # closed is not seen
    assert tracker.observe("open drawer 1", "You open the drawer 1. The drawer 1 is open. In it, you see a cd 1.") == ""
    assert tracker.observe("go to desk 1", desk) == "Not seen yet: drawer 2."
    assert tracker.observe("take pen 1 from desk 1", "You pick up the pen 1 from the desk 1.") == ""
    assert tracker.observe("go to desk 1", "You arrive at desk 1. On the desk 1, you see nothing.") == ""
    assert tracker.observe("go to drawer 2", "You arrive at drawer 2. In the drawer 2, you see nothing.") == ""
    assert tracker.observe("dance", "Nothing happens.") == ""  # nothing is left
