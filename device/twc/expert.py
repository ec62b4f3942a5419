"""The expert of TextWorld Commonsense: it knows where the game's things belong, and puts one away after another."""

from __future__ import annotations

from collections.abc import Sequence

from duomem.device.world.env import Observation


def puts(solution: Sequence[str]) -> dict[str, str]:
    """Thing -> where it belongs, as the commands of a solution put them."""
    pairs = (c.removeprefix("put ").partition(" in ") for c in solution if c.startswith("put "))
    return {thing: place for thing, _, place in pairs}


class TwcExpert:
    """Keeps `Policy`. Of an observation it reads the commands that do something."""

    is_noise = False
    thought = ""

    def __init__(self, solution: Sequence[str]) -> None:
        self._places = puts(solution)
        self._held: set[str] = set()
        self._done: set[str] = set()

    def act(self, observation: Observation, /) -> str:
        """The next command."""
        commands = observation.admissible
        for thing, place in self._places.items():
            if thing in self._done:
                continue
            wanted = (f"put {thing} in {place}", f"open {place}") if thing in self._held else (f"take {thing}",)
            for command in wanted:
                if command in commands:
                    return command
            return next((c for c in commands if c.startswith("open ")), "look around")
        return "look around"

    def observe(self, command: str, observation: Observation, /) -> None:
        """Follow where the things are."""
        verb, _, rest = command.partition(" ")
        thing, _, place = rest.partition(" in ")
        if verb == "take":
            self._held.add(thing)
            self._done.discard(thing)
        elif verb == "put":
            self._held.discard(thing)
            if self._places.get(thing) == place:
                self._done.add(thing)

    def close(self) -> None:
        """Nothing is held."""
