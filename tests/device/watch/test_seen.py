"""What was seen is what the texts told: places, their contents, what is carried; held against the engine itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.watch.seen import Place, Seen

INTRO = (
    "You are in the middle of a room. Looking quickly around you, you see a desk 1, a drawer 10, and a lamp.\n\n"
    "Your task is to: put a mug in desk."
)


def _told(*texts: str) -> Seen:
    seen = Seen.of(INTRO)
    for text in texts:
        seen = seen.after(text)
    return seen


def test_an_intro_lists_places_that_are_not_seen() -> None:
    assert Seen.of(INTRO).places == {name: Place(name) for name in ("desk 1", "drawer 10")}
    assert Seen.of("Another world.") == Seen()


def test_places_are_seen_opened_and_closed() -> None:
    seen = _told("You arrive at drawer 10. The drawer 10 is closed.")
    assert seen.here == "drawer 10" and seen.places["drawer 10"] == Place("drawer 10", None, "closed")
    seen = seen.after("You open the drawer 10. The drawer 10 is open. In it, you see a mug 1, and a soap bar 2.")
    assert seen.places["drawer 10"] == Place("drawer 10", ("mug 1", "soap bar 2"), "open")
    assert seen.after("You close the drawer 10.").places["drawer 10"].state == "closed"


def test_the_last_place_of_which_something_was_learned_is_last() -> None:
    assert list(_told("On the desk 1, you see nothing.").places) == ["drawer 10", "desk 1"]


def test_things_are_carried_and_treated() -> None:
    seen = _told("On the desk 1, you see a mug 1, and a pen 2.", "You pick up the mug 1 from the desk 1.")
    assert (seen.holding, seen.places["desk 1"].contents) == (("mug 1",), ("pen 2",))
    seen = seen.after("You heat the mug 1 using the microwave 1.").after("You clean the mug 1 using the sinkbasin 1.")
    assert seen.holding == ("mug 1", "heated", "cleaned")
    for verb, word in (("move", "to"), ("put", "in/on")):
        put = seen.after(f"You {verb} the mug 1 {word} the desk 1.")
        assert (put.holding, put.places["desk 1"].contents) == (None, ("pen 2", "mug 1"))
    assert seen.after("You turn on the lamp 3.").lit == {"lamp 3"}


def test_a_moment_before_stays_as_it_was() -> None:
    before = _told("On the desk 1, you see a mug 1.")
    before.after("You pick up the mug 1 from the desk 1.")
    assert before.holding is None and before.places["desk 1"].contents == ("mug 1",)


@pytest.mark.parametrize("seed", range(3))
def test_what_lies_where_is_what_the_game_says(generated_games: Path, seed: int) -> None:
    """A random walk: after it, looking at each known open place again tells nothing new."""
    draw = random.Random(seed)
    env = AlfworldEnv()
    observation = env.reset(load_game(draw.choice(find_games(generated_games, "train"))))
    seen = Seen.of(observation.text)
    for _ in range(150):
        observation = env.step(draw.choice(observation.admissible))
        seen = seen.after(observation.text)
    known = [place for place in seen.places.values() if place.contents is not None and place.state != "closed"]
    assert known
    for place in known:
        again = seen.after(env.step(f"go to {place.name}").text).places[place.name]
        assert set(again.contents or ()) == set(place.contents or ()) and again.state == place.state
    held = env.step("inventory").text
    assert (seen.holding[0] in held) if seen.holding else held == "You are not carrying anything."
