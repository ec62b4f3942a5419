"""What a game lets its player do: tables that playing never changes, and the commands and texts of a situation.

A situation is remembered by all that decides it, so every env of a game shares what one of them has worked out.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from duomem.device.alfworld.game import Game

CHANGING = ("opened", "isclean", "ishot", "iscool", "istoggled", "issliced")
"""Predicates of one object or receptacle that commands change."""
_KNIVES = ("knifetype", "butterknifetype")
_NONE: frozenset[str] = frozenset()
_MOST_REMEMBERED = 512
"""Situations of one game; one takes some 2 kB."""

Action = tuple[str, ...]  # a verb and the ids it acts on
_T = TypeVar("_T")


class Options(NamedTuple):
    """actions: what the commands that apply do, those that leave the place aside. admissible: all of them, sorted."""

    actions: Mapping[str, Action]
    admissible: tuple[str, ...]


class Stage:
    """Made of a game once, by `Game.stage`; plain dicts, to be copied by whoever changes them.

    receptacles: location -> receptacles there, sorted. destinations: "go to ..." -> receptacle, sorted.
    contents: receptacle -> objects in it at the start. lying: location -> objects there at the start.
    true: predicate of CHANGING -> things it is true of at the start.
    """

    def __init__(self, game: Game) -> None:
        self._game = game
        self._verb, self._between = ("move", " to ") if game.dialect == "0.4" else ("put", " in/on ")
        self._openable = game.having("openable")
        self.receptacles = _grouped((location, thing) for thing, location in game.receptacle_location.items())
        self.destinations = dict(sorted((f"go to {game.names[thing]}", thing) for thing in game.receptacle_location))
        inside = _grouped((place, thing) for thing, place in game.facts["inreceptacle"])
        self.contents = {place: frozenset(inside.get(place, ())) for place in game.receptacle_location}
        lying = _grouped((place, thing) for thing, place in game.facts["objectatlocation"])
        self.lying = {place: frozenset(things) for place, things in lying.items()}
        self.true = {predicate: game.having(predicate) for predicate in CHANGING}
        self._going: dict[str, tuple[str, ...]] = {}
        self._options: dict[tuple[object, ...], Options] = {}
        self._views: dict[tuple[object, ...], str] = {}

    def options(
        self,
        location: str,
        held: str | None,
        opened: frozenset[str],
        contents: Mapping[str, frozenset[str]],
        lying: Mapping[str, frozenset[str]],
    ) -> Options:
        """The commands that apply at `location` with `held` in hand, by the preconditions of alfred.pddl."""
        here = self.receptacles.get(location, ())
        cuttable = lying.get(location, _NONE) if self._game.object_type.get(held or "") in _KNIVES else _NONE
        key = (location, held, cuttable, *[(place in opened, contents[place]) for place in here])
        return _remembered(self._options, key, lambda: self._work_out(location, held, opened, contents, cuttable))

    def view(self, receptacle: str, opened: frozenset[str], contents: frozenset[str]) -> str:
        """What a look at a receptacle says."""
        is_open = receptacle in opened
        return _remembered(
            self._views, (receptacle, is_open, contents), lambda: self._see(receptacle, is_open, contents)
        )

    def listing(self, things: Iterable[str]) -> str:
        """`a mug 1, a pan 2, and a fork 1`, as the grammar's list rules have it; "nothing" of none."""
        return join([f"a {self._game.names[thing]}" for thing in things])

    def _work_out(
        self,
        location: str,
        held: str | None,
        opened: frozenset[str],
        contents: Mapping[str, frozenset[str]],
        cuttable: frozenset[str],
    ) -> Options:
        game, names = self._game, self._game.names
        actions: dict[str, Action] = {"look": ("look",), "inventory": ("inventory",)}
        if game.help:
            actions["help"] = ("help",)
        for place in self.receptacles.get(location, ()):
            name = names[place]
            actions[f"examine {name}"] = ("view", place)
            is_accessible = True
            if place in self._openable:
                is_accessible = place in opened
                verb = "close" if is_accessible else "open"
                actions[f"{verb} {name}"] = (verb, place)
            for thing in contents[place]:
                if thing in game.having("toggleable"):
                    actions[f"use {names[thing]}"] = ("use", thing)
                if held is None and is_accessible and thing in game.having("pickupable"):
                    actions[f"take {names[thing]} from {name}"] = ("take", thing, place)
            if held is not None:
                self._add_holding(actions, held, place, is_accessible)
        if held is not None:
            actions[f"examine {names[held]}"] = ("examine", held)
            for thing in cuttable & game.having("sliceable"):
                actions[f"slice {names[thing]} with {names[held]}"] = ("slice", thing, held)
        here = sorted(actions)
        split = bisect(here, "go to")
        return Options(actions, (*here[:split], *self._leaving(location), *here[split:]))

    def _add_holding(self, actions: dict[str, Action], held: str, place: str, is_accessible: bool) -> None:
        game = self._game
        kind, name, held_name = game.receptacle_type[place], game.names[place], game.names[held]
        if is_accessible and (kind, game.object_type.get(held)) in game.facts["cancontain"]:
            actions[f"{self._verb} {held_name}{self._between}{name}"] = ("move", held, place)
        if kind in game.cleaning_types and held in game.having("cleanable"):
            actions[f"clean {held_name} with {name}"] = ("clean", held, place)
        if kind == "microwavetype" and held in game.having("heatable"):
            actions[f"heat {held_name} with {name}"] = ("heat", held, place)
        if kind == "fridgetype" and held in game.having("coolable"):
            actions[f"cool {held_name} with {name}"] = ("cool", held, place)

    def _leaving(self, location: str) -> tuple[str, ...]:
        """The commands that go elsewhere, sorted."""
        if location not in self._going:
            places = self._game.receptacle_location
            self._going[location] = tuple(
                [command for command, place in self.destinations.items() if places[place] != location]
            )
        return self._going[location]

    def _see(self, receptacle: str, is_open: bool, contents: frozenset[str]) -> str:
        name = self._game.names[receptacle]
        if receptacle not in self._openable:
            return f"On the {name}, you see {self.listing(sorted(contents))}."
        if is_open:
            return f"The {name} is open. In it, you see {self.listing(sorted(contents))}."
        return f"The {name} is closed."


def join(words: list[str]) -> str:
    """`a, b, and c`, as the grammar's list rules have it; "nothing" of none."""
    if len(words) < 2:
        return words[0] if words else "nothing"
    return f"{', '.join(words[:-1])}, and {words[-1]}"


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}


def _remembered(memory: dict[tuple[object, ...], _T], key: tuple[object, ...], work_out: Callable[[], _T]) -> _T:
    found = memory.get(key)
    if found is None:
        if len(memory) >= _MOST_REMEMBERED:
            memory.clear()
        found = memory[key] = work_out()
    return found
