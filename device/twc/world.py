"""TextWorld Commonsense as a World: one room, and one to three things that lie about and belong somewhere.

The splits are TextWorldExpress's folds: no thing of one is in another.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from duomem.core.errors import GameError
from duomem.device.twc.expert import TwcExpert
from duomem.device.twc.java import Java, Simulator
from duomem.device.twc.twc_env import TwcEnv
from duomem.device.world.game import JsonGame, read_json_game
from duomem.device.world.world import World

MOST_THINGS = 3
_MOST_COMMANDS = 100
_SEEN = re.compile(
    r"(?:In (?:one|another) part of the room you|There is also|You also)(?: see)?(?: an?\b| some\b)? ", re.I
)
_CLOSED = re.compile(r",? that is closed\.")
_BARE = re.compile(r",? that has nothing on it\.")


class TwcWorld(World):
    """See World."""

    name = "twc"
    splits = ("train", "dev", "test")
    task_types = tuple(f"tidy_{n}" for n in range(1, MOST_THINGS + 1))
    system = (
        "You tidy a room: put each thing where it belongs. Reply to each > with one command: "
        "take, put, open, close, look around, inventory.\n"
    )

    @cached_property
    def _java(self) -> Java:
        return Java()

    def shorten(self, observation: str) -> str:
        """A room as a list: "bedroom: desk; wardrobe (closed); copybook;"."""
        text = _BARE.sub(";", _CLOSED.sub(" (closed);", " ".join(observation.split())))
        if text.startswith("You are in the "):
            text = _SEEN.sub("", text.removeprefix("You are in the ").replace(". ", ": ", 1)).replace(". ", "; ")
        return text

    def make_env(self) -> TwcEnv:
        """See World."""
        return TwcEnv(lambda: self._java)

    def expert(self, game: JsonGame, intro: str) -> TwcExpert:
        """See World."""
        return TwcExpert(game.data["solution"])

    def load_game(self, path: Path) -> JsonGame:
        """See World."""
        game = read_json_game(path, self.name)
        _check(game.data, path)
        return game

    def simulator(self, things: int) -> Simulator:
        """See Java.simulator."""
        return self._java.simulator(things)


def _check(data: Any, path: Path) -> None:
    def refuse(field: str, why: str) -> GameError:
        return GameError(f"{path}: field {field} {why}: make it again with `duomem games twc`")

    if data.get("fold") not in TwcWorld.splits:
        raise refuse("fold", f"is none of {', '.join(TwcWorld.splits)}")
    if type(data.get("seed")) is not int or not 0 <= data["seed"] < 1 << 31:
        raise refuse("seed", "is no whole number")
    if type(data.get("things")) is not int or not 1 <= data["things"] <= MOST_THINGS:
        raise refuse("things", f"is no number from 1 to {MOST_THINGS}")
    commands = data.get("solution")
    if not isinstance(commands, list) or len(commands) > _MOST_COMMANDS or not all(_is_command(c) for c in commands):
        raise refuse("solution", f"is no list of at most {_MOST_COMMANDS} commands")


def _is_command(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200 and value.isprintable()


TWC = TwcWorld()
