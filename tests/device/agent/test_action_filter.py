"""A command is withheld as long as the episode itself tells that it would bring nothing new, and no longer."""

from __future__ import annotations

from duomem.device.agent.action_filter import ActionFilter

INTRO = "You are in the middle of a room. Looking quickly around you, you see a desk 1, a drawer 2, and a drawer 1."
DESK = "You arrive at desk 1. On the desk 1, you see a pen 1."


def test_what_brought_nothing_new_is_withheld_until_something_new_is_seen() -> None:
    action_filter = ActionFilter(INTRO)
    action_filter.observe("go to desk 1", DESK)
    assert "go to desk 1" not in action_filter
    action_filter.observe("dance", "Nothing happens.")
    action_filter.observe("go to desk 1", DESK)
    assert "go to desk 1" in action_filter and "dance" in action_filter and "go to drawer 1" not in action_filter
    action_filter.observe("go to drawer 1", "You arrive at drawer 1. The drawer 1 is closed.")
    assert "go to desk 1" not in action_filter and "dance" not in action_filter


def test_the_same_contents_seen_another_way_are_not_new() -> None:
    action_filter = ActionFilter(INTRO)
    action_filter.observe("open drawer 1", "You open the drawer 1. The drawer 1 is open. In it, you see nothing.")
    action_filter.observe("go to drawer 1", "You arrive at drawer 1. The drawer 1 is open. In it, you see nothing.")
    action_filter.observe("examine drawer 1", "The drawer 1 is open. In it, you see nothing.")
    assert (
        "go to drawer 1" in action_filter
        and "examine drawer 1" in action_filter
        and "open drawer 1" not in action_filter
    )


def test_what_names_things_never_seen_is_withheld() -> None:
    action_filter = ActionFilter(INTRO)
    for command in ("go to drawer 3", "go to drawer 12", "take pen 1 from desk 1", "heat pen 1 with desk 1"):
        assert command in action_filter
    for command in ("go to drawer 2", "look", "inventory", "take pen from desk 1", ""):
        assert command not in action_filter
    action_filter.observe("go to desk 1", DESK)
    assert "take pen 1 from desk 1" not in action_filter and "take pen 2 from desk 1" in action_filter
