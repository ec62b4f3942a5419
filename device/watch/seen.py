"""What an episode's player has seen so far, gathered from the texts it was told: places, what lay there, what it holds.

ALFWorld's sentences are understood; of another world's text nothing is gathered, and nothing is lost but the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from duomem.core.scene import receptacles

_NAME = r"[a-z]+ [0-9]+"
_ARTICLE = re.compile(r"^(?:and )?(?:an? )?")


@dataclass(frozen=True)
class Place:
    """A place and what is known of it. contents: None before they were seen. state: "open", "closed" or ""."""

    name: str
    contents: tuple[str, ...] | None = None
    state: str = ""


@dataclass
class Seen:
    """What was seen up to one moment.

    places: by name; those that something was learned of last are last. here: the place the player stands at, "" at
    first. holding: what it carries, and what it has done to it ("apple 1", "heated"); None for nothing. lit: lamps that
    are on.
    """

    places: dict[str, Place] = field(default_factory=dict)
    here: str = ""
    holding: tuple[str, ...] | None = None
    lit: frozenset[str] = frozenset()

    @classmethod
    def of(cls, intro: str) -> Seen:
        """What an intro lists."""
        return cls({name: Place(name) for name in receptacles(intro) if re.fullmatch(_NAME, name)})

    def after(self, text: str) -> Seen:
        """What is known after an observation; this one stays as it is."""
        seen = Seen(dict(self.places), self.here, self.holding, self.lit)
        for sentence, change in _SENTENCES:
            for match in sentence.finditer(text):
                change(seen, *match.groups())
        return seen

    def arrive(self, place: str) -> None:
        """The player stands there now."""
        self.here = place

    def find(self, place: str, things: str) -> None:
        """These lie there: "a mug 2, and a pen 1"."""
        names = () if things == "nothing" else tuple(_ARTICLE.sub("", part) for part in things.split(", "))
        self._change(place, contents=names)

    def find_inside(self, place: str, things: str) -> None:
        """It is open, and these are in it."""
        self.find(place, things)
        self.turn(place, "open")

    def turn(self, place: str, state: str) -> None:
        """It is open or closed now."""
        self._change(place, state=state)

    def close(self, place: str) -> None:
        """It is closed now."""
        self.turn(place, "closed")

    def take(self, thing: str, place: str) -> None:
        """The player took it from there."""
        self.holding = (thing,)
        self._change(place, contents=tuple(t for t in self._known(place) if t != thing))

    def put(self, thing: str, place: str) -> None:
        """The player put it there."""
        self.holding = None
        self._change(place, contents=(*(t for t in self._known(place) if t != thing), thing))

    def treat(self, verb: str, thing: str) -> None:
        """The player heated, cooled or cleaned it, in its hand."""
        if self.holding and self.holding[0] == thing:
            done = _DONE[verb]
            self.holding = (*(d for d in self.holding if d != done), done)

    def turn_on(self, thing: str) -> None:
        """It is lit now."""
        self.lit |= {thing}

    def _known(self, place: str) -> tuple[str, ...]:
        found = self.places.get(place)
        return (found and found.contents) or ()

    def _change(self, place: str, **fields: object) -> None:
        if place in self.places:
            self.places[place] = replace(self.places.pop(place), **fields)  # type: ignore[arg-type]


_DONE = {"heat": "heated", "cool": "cooled", "clean": "cleaned"}
_SENTENCES: tuple[tuple[re.Pattern[str], Callable[..., None]], ...] = (
    (re.compile(rf"You arrive at ({_NAME})\."), Seen.arrive),
    (re.compile(rf"On the ({_NAME}), you see ([^.\n]+)\."), Seen.find),
    (re.compile(rf"The ({_NAME}) is (open|closed)\."), Seen.turn),
    (re.compile(rf"The ({_NAME}) is open\. In it, you see ([^.\n]+)\."), Seen.find_inside),
    (re.compile(rf"You close the ({_NAME})\."), Seen.close),
    (re.compile(rf"You pick up the ({_NAME}) from the ({_NAME})\."), Seen.take),
    (re.compile(rf"You (?:move|put) the ({_NAME}) (?:to|in/on|in|on) the ({_NAME})\."), Seen.put),
    (re.compile(rf"You (heat|cool|clean) the ({_NAME}) using"), Seen.treat),
    (re.compile(rf"You turn on the ({_NAME})\."), Seen.turn_on),
)
