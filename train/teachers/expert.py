"""The searching expert: a teacher that reads what a player reads, and searches first where priors say.

In an episode it has the goal sentence and the observations, never the game file or the walkthrough. Its priors are
counted from the hidden facts of train games (priors.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from duomem.core.scene import receptacles
from duomem.device.agent.policy import Policy
from duomem.device.alfworld.world import ALFWORLD
from duomem.device.world.env import Observation
from duomem.train.teachers.goal_spec import TREATMENTS, GoalSpec, parse_goal

REVISION = 2

_UNDOES = {"heat": "cool", "cool": "heat"}

_CONTENTS = re.compile(r"(?:On the [^,]*|In the [^,]*|In it), you see ([^\n]*)\.")
_ITEM = re.compile(r"\ban? ([a-z]+ \d+)")

Priors = Mapping[str, float]
"""'object|receptacle' types -> share of such receptacles that hold such an object, from train games."""


def kind(name: str) -> str:
    """Type of a named thing: "mug 2" -> "mug"."""
    return name.rsplit(" ", 1)[0]


def _number(name: str) -> int:
    return int(name.rsplit(" ", 1)[1])


def items_in(text: str) -> list[str]:
    """The things an observation lists as lying in or on a place."""
    match = _CONTENTS.search(text)
    return _ITEM.findall(match[1]) if match else []


class Expert(Policy):
    """The searching expert's policy for one episode. Of an observation it reads the text alone."""

    def __init__(self, intro: str, priors: Priors, goal: GoalSpec | None = None) -> None:
        """intro: the first observation's text. goal: what it asks for, read from it if not given. Raises TrainError
        if it cannot be read.
        """
        self.goal = goal or parse_goal(ALFWORLD.goal(intro))
        self._priors = priors
        self._receptacles = receptacles(intro)
        self._contents: dict[str, list[str]] = {}
        self._closed: set[str] = set()
        self._here: str | None = None
        self._held: str | None = None
        self._taken_from = ""
        self._treated: set[str] = set()
        self._placed: list[str] = []
        self._destination: str | None = None
        self._openable_kinds: set[str] = {"cabinet", "drawer", "fridge", "microwave", "safe"}

    def act(self, observation: Observation, /) -> str:
        """The next command."""
        if self._here is not None and self._here not in self._contents and self._here not in self._closed:
            return f"examine {self._here}"
        if self._held is None:
            return self._fetch(self.goal.object, self._settled())
        if kind(self._held) != self.goal.object:
            return self._put_back()
        for verb, device in self.goal.treatments:
            if verb not in self._treated:
                return self._treat(verb, device)
        if self.goal.lamp is not None:
            return self._use_lamp(self.goal.lamp)
        return self._deliver()

    def observe(self, command: str, observation: Observation, /) -> None:
        """Learn from what `command`, its own or another's, showed."""
        text = observation.text
        verb, _, rest = command.partition(" ")
        place = rest.removeprefix("to ")
        if verb == "go" and place in self._receptacles:
            # A place that shares its spot with the one we stand at cannot be walked to: we are there.
            self._here = place
        if verb in ("go", "open", "examine") and place in self._receptacles:
            self._see(place, text)
        elif self._here is None or not text.startswith("You "):
            return
        elif verb == "close":
            self._closed.add(place)
        elif verb == "take":
            self._take(*rest.split(" from "))
        elif verb == "move":
            self._put(*rest.split(" to "))
        elif verb in TREATMENTS or verb in dict(self.goal.treatments):
            self._treated = (self._treated | {verb}) - {_UNDOES.get(verb)}

    def _see(self, place: str, text: str) -> None:
        if "is closed" in text:
            self._closed.add(place)
        elif (match := _CONTENTS.search(text)) is not None:
            self._closed.discard(place)
            self._contents[place] = _ITEM.findall(match[1])

    def pursue(self, goal: GoalSpec) -> None:
        """Go on to `goal` in the same scene, with all that was seen so far."""
        if goal == self.goal:
            return
        self.goal = goal
        self._treated, self._placed, self._destination = set(), [], None

    def _take(self, item: str, place: str) -> None:
        self._held, self._taken_from, self._treated = item, place, set()
        for items in (self._contents.get(place, []), self._placed):
            if item in items:
                items.remove(item)

    def _put(self, item: str, place: str) -> None:
        self._contents.setdefault(place, []).append(item)
        if kind(place) == self.goal.receptacle and self.goal.count == 2:
            self._placed.append(item)
            self._destination = place
        self._held = None

    def _fetch(self, wanted: str, settled: str | None) -> str:
        """Go for an object of type `wanted`, not one that already lies in `settled`."""
        for place, items in self._contents.items():
            for item in items:
                if kind(item) == wanted and place != settled and item not in self._placed:
                    return self._at(place, f"take {item} from {place}")
        return self._search(wanted)

    def _put_back(self) -> str:
        """Put a thing that is not asked for back where it was."""
        return self._at(self._taken_from, f"move {self._held} to {self._taken_from}")

    def _at(self, place: str, command: str) -> str:
        """`command`, once we stand at the open `place`."""
        if self._here != place:
            return f"go to {place}"
        return f"open {place}" if place in self._closed else command

    def _settled(self) -> str | None:
        """The destination instance where a two-object task collects its objects, once one is there."""
        if self.goal.count == 1:
            return None
        if self._destination is None:
            self._destination = next(
                (
                    p
                    for p in self._contents
                    if kind(p) == self.goal.receptacle and any(kind(i) == self.goal.object for i in self._contents[p])
                ),
                None,
            )
        return self._destination

    def _search(self, wanted: str) -> str:
        """Open what stands closed here, else walk to the likeliest place not yet seen, per step it costs."""
        if self._here in self._closed:
            return f"open {self._here}"
        unseen = [r for r in self._receptacles if r not in self._contents]
        if not unseen:
            return "look"
        return "go to " + min(unseen, key=lambda r: (-self._worth(wanted, kind(r)), kind(r), _number(r)))

    def _worth(self, wanted: str, place: str) -> float:
        steps = 2 if place in self._openable_kinds else 1
        return round(self._priors.get(f"{wanted}|{place}", 0.0) / steps, 4)

    def _use_lamp(self, lamp: str) -> str:
        for place, items in self._contents.items():
            for item in items:
                if kind(item) == lamp:
                    return f"{self.goal.use} {item}" if place == self._here else f"go to {place}"
        return self._search(lamp)

    def _treat(self, verb: str, device: str) -> str:
        place = next((r for r in sorted(self._receptacles, key=_number) if kind(r) == device), None)
        if place is None:
            return "look"
        return f"{verb} {self._held} with {place}" if self._here == place else f"go to {place}"

    def _deliver(self) -> str:
        place = self._settled() if self.goal.count == 2 else None
        if place is None:
            places = [r for r in self._receptacles if kind(r) == self.goal.receptacle]
            if not places:
                return "look"
            place = min(places, key=lambda r: (r != self._here, r not in self._contents, _number(r)))
        return self._at(place, f"move {self._held} to {place}")
