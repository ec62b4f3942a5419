"""A game of TextWorld Commonsense as an Env: TextWorldExpress's texts, and the goal that a player can see."""

from __future__ import annotations

from collections.abc import Callable

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.core.reading import digest_of
from duomem.device.twc.java import Answer, Java
from duomem.device.world.env import Observation
from duomem.device.world.game import JsonGame

_HELD = "inventory"


class TwcEnv:
    """Keeps `Env`. What commands change: where things lie, in which order, and which furniture stands open."""

    def __init__(self, java: Callable[[], Java]) -> None:
        """java: gives the program, which is started if it is not running."""
        self._java = java
        self._commands: list[str] = []

    def reset(self, game: JsonGame) -> Observation:
        """Start `game`; the text is the room and what is to be put away."""
        self._game = game
        self._simulator = self._java().simulator(game.data["things"])
        self._answer = self._simulator.start(game.data["fold"], game.data["seed"])
        self._commands = []
        self._contents: dict[str, list[str]] = {_HELD: []}
        self._opened: set[str] = set()
        return self._observe(f"{self._answer.look}\n\nYour task is to: {game.task}")

    def step(self, command: str) -> Observation:
        """Play one command; one that is not admissible gives "Nothing happens."."""
        command = command.strip()
        if command not in self._answer.commands:
            return self._observe(NOTHING_HAPPENS)
        self._answer = self._simulator.step(command)
        self._commands.append(command)
        self._follow(command)
        return self._observe(self._answer.text)

    def clone(self) -> TwcEnv:
        """Another env in the same state: the game is started again and its commands are played."""
        twin = TwcEnv(self._java)
        twin.reset(self._game)
        for command in self._commands:
            twin.step(command)
        return twin

    @property
    def state_id(self) -> str:
        """32 hex digits: a digest of the game and of what commands change."""
        contents = {place: things for place, things in self._contents.items() if things}
        return digest_of([self._game.digest, contents, sorted(self._opened)])[:32]

    def _follow(self, command: str) -> None:
        verb, _, rest = command.partition(" ")
        if verb in ("take", "put"):
            thing, _, place = rest.partition(" in ")
            for things in self._contents.values():
                if thing in things:
                    things.remove(thing)
            self._contents.setdefault(place or _HELD, []).append(thing)
        elif verb == "open":
            self._opened.add(rest)
        elif verb == "close":
            self._opened.discard(rest)

    def _observe(self, text: str) -> Observation:
        answer: Answer = self._answer
        return Observation(text.strip(), answer.commands, done=answer.won, won=answer.won)
