"""duomem's ALFWorld engine: the official engine's texts, in plain Python, some thousand times faster.

Rules and texts follow alfred.pddl and alfred.twl2 of ALFWorld as TextWorld 1.7.0 plays them, quirks included;
docs/alfworld.md lists the quirks, tests/device/alfworld/test_equality.py compares step by step.
"""

from __future__ import annotations

import copy
from bisect import bisect
from collections.abc import Iterable
from typing import Any

from duomem.core.files import digest_of
from duomem.core.trajectory import NOTHING_HAPPENS
from duomem.device.alfworld.game import Game
from duomem.device.alfworld.goal import Atom
from duomem.device.world.env import Observation

_INTRO = "-= Welcome to TextWorld, ALFRED! =-"
_KNIVES = ("knifetype", "butterknifetype")

# What `examine` says of a held object: the first line all of whose properties it has.
_EXAMINED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("isclean", "ishot", "issliced"), "This is a hot and clean sliced {}."),
    (("isclean", "iscool", "issliced"), "This is a cool and clean sliced {}."),
    (("isclean", "issliced"), "This is a clean sliced {}."),
    (("ishot", "issliced"), "This is a hot sliced {}."),
    (("iscool", "issliced"), "This is a cool sliced {}."),
    (("isclean", "ishot"), "This is a hot and clean {}."),
    (("isclean", "iscool"), "This is a cool and clean {}."),
    (("ishot",), "This is a hot {}."),
    (("isclean",), "This is a clean {}."),
    (("iscool",), "This is a cold {}."),
    (("toggleable", "istoggled"), "This {} is on."),
    (("sliceable", "issliced"), "This is a sliced {}."),
    ((), "There's nothing special about {}."),
)

# Predicates of one object or receptacle that commands change.
_CHANGING = ("opened", "isclean", "ishot", "iscool", "istoggled", "issliced")
_LASTING = ("toggleable", "sliceable")  # those that do not change and that `examine` tells

Action = tuple[Any, ...]  # a method, not bound to an env so that clones share it, and its arguments


class AlfworldEnv:
    """One ALFWorld game at a time, played by text commands (keeps `Env`).

    Winning does not lock the game: as in the official engine, commands still work, and `done` and `won` say whether
    the goal holds now.
    """

    def reset(self, game: Game) -> Observation:
        """Start `game`; the observation's text is the intro with the goal sentence."""
        self._game = game
        self._location = game.start
        self._held: str | None = None
        self._true = {predicate: set(game.having(predicate)) for predicate in _CHANGING}
        self._contents: dict[str, set[str]] = {receptacle: set() for receptacle in game.receptacle_location}
        for thing, receptacle in game.facts["inreceptacle"]:
            self._contents[receptacle].add(thing)
        self._lying: dict[str, set[str]] = {}  # location -> objects there
        for thing, location in game.facts["objectatlocation"]:
            self._lying.setdefault(location, set()).add(thing)
        self._taken: set[tuple[str, str]] = set()  # (object, receptacle) taken out and not put back
        self._receptacles: dict[str, list[str]] = {}  # location -> receptacles there, sorted
        for receptacle, location in game.receptacle_location.items():
            self._receptacles.setdefault(location, []).append(receptacle)
        self._go_to: dict[str, tuple[list[str], dict[str, Action]]] = {}  # location -> commands leaving it
        self._changed()
        if self._receptacles.get(self._location):
            view = self._look()
        else:
            around = self._listing(game.receptacle_location)
            view = f"You are in the middle of a room. Looking quickly around you, you see {around}."
        return self._observe(f"{_INTRO}\n\n{view}\n\nYour task is to: {game.task}")

    def step(self, command: str) -> Observation:
        """Play one command; an unknown or inapplicable one gives "Nothing happens."."""
        command = command.strip()
        action = self._here.get(command) or self._leaving.get(command)
        if action is None:
            return self._observe(NOTHING_HAPPENS)
        return self._observe(action[0](self, *action[1:]))

    def clone(self) -> AlfworldEnv:
        """Another env in the same state, in some microseconds: what no command changes is shared."""
        twin = copy.copy(self)
        twin._true = {predicate: set(things) for predicate, things in self._true.items()}
        twin._contents = {receptacle: set(things) for receptacle, things in self._contents.items()}
        twin._lying = {location: set(things) for location, things in self._lying.items()}
        twin._taken = set(self._taken)
        return twin

    @property
    def state_id(self) -> str:
        """32 hex digits: a digest of the game and of everything that commands change."""
        groups = (self._true, self._contents, self._lying)
        sets = [{key: sorted(things) for key, things in group.items() if things} for group in groups]
        return digest_of([self._game.digest, self._location, self._held, *sets, sorted(self._taken)])[:32]

    def _observe(self, text: str) -> Observation:
        return Observation(text.strip(), self._admissible, done=self._won, won=self._won)

    def _changed(self) -> None:
        """Work out anew what follows from the state: the commands that apply and whether the goal holds."""
        self._here = self._commands_here()
        if self._location not in self._go_to:
            leaving = self._commands_leaving()
            self._go_to[self._location] = sorted(leaving), leaving
        going, self._leaving = self._go_to[self._location]
        here = sorted(self._here)
        split = bisect(here, "go to")
        self._admissible = (*here[:split], *going, *here[split:])
        self._won = self._game.goal.reached(self._is_true)

    def _is_true(self, atom: Atom) -> bool:
        predicate = atom[0]
        if predicate == "inreceptacle":
            return atom[1] in self._contents[atom[2]]
        if predicate == "objectatlocation":
            return atom[1] in self._lying.get(atom[2], ())
        if predicate == "atlocation":
            return atom[2] == self._location
        if predicate == "holds":
            return atom[2] == self._held
        if predicate in self._true:
            return atom[1] in self._true[predicate]
        return atom[1:] in self._game.facts[predicate]

    # ---- which commands apply: the preconditions of alfred.pddl

    def _commands_leaving(self) -> dict[str, Action]:
        return {
            f"go to {self._game.names[receptacle]}": (AlfworldEnv._go, receptacle)
            for receptacle, location in self._game.receptacle_location.items()
            if location != self._location
        }

    def _commands_here(self) -> dict[str, Action]:
        names, having, held = self._game.names, self._game.having, self._held
        commands: dict[str, Action] = {
            "look": (AlfworldEnv._look,),
            "inventory": (AlfworldEnv._inventory,),
            "help": (AlfworldEnv._help,),
        }
        for receptacle in self._receptacles.get(self._location, ()):
            name = names[receptacle]
            commands[f"examine {name}"] = (AlfworldEnv._examine_receptacle, receptacle)
            if receptacle in having("openable"):
                if receptacle in self._true["opened"]:
                    commands[f"close {name}"] = (AlfworldEnv._close, receptacle)
                else:
                    commands[f"open {name}"] = (AlfworldEnv._open, receptacle)
            for thing in self._contents[receptacle]:
                if thing in having("toggleable"):
                    commands[f"use {names[thing]}"] = (AlfworldEnv._use, thing)
                if held is None and thing in having("pickupable") and self._is_accessible(receptacle):
                    commands[f"take {names[thing]} from {name}"] = (AlfworldEnv._take, thing, receptacle)
            if held is not None:
                self._add_commands_holding(commands, held, receptacle)
        if held is not None:
            commands[f"examine {names[held]}"] = (AlfworldEnv._examine_object, held)
            if self._game.object_type.get(held) in _KNIVES:
                for thing in self._lying.get(self._location, set()) & having("sliceable"):
                    commands[f"slice {names[thing]} with {names[held]}"] = (AlfworldEnv._slice, thing, held)
        return commands

    def _add_commands_holding(self, commands: dict[str, Action], held: str, receptacle: str) -> None:
        game = self._game
        kind, name, held_name = game.receptacle_type[receptacle], game.names[receptacle], game.names[held]
        fits = (kind, game.object_type.get(held)) in game.facts["cancontain"]
        if fits and self._is_accessible(receptacle):
            commands[f"move {held_name} to {name}"] = (AlfworldEnv._move, held, receptacle)
        if kind in game.cleaning_types and held in game.having("cleanable"):
            commands[f"clean {held_name} with {name}"] = (AlfworldEnv._clean, held, receptacle)
        if kind == "microwavetype" and held in game.having("heatable"):
            commands[f"heat {held_name} with {name}"] = (AlfworldEnv._heat, held, receptacle)
        if kind == "fridgetype" and held in game.having("coolable"):
            commands[f"cool {held_name} with {name}"] = (AlfworldEnv._cool, held, receptacle)

    def _is_accessible(self, receptacle: str) -> bool:
        return receptacle not in self._game.having("openable") or receptacle in self._true["opened"]

    # ---- what they do and say: the effects of alfred.pddl and the texts of alfred.twl2

    def _go(self, receptacle: str) -> str:
        self._location = self._game.receptacle_location[receptacle]
        self._changed()
        return f"You arrive at {self._game.names[receptacle]}. {self._examine_receptacle(receptacle)}"

    def _open(self, receptacle: str) -> str:
        self._true["opened"].add(receptacle)
        self._changed()
        return f"You open the {self._game.names[receptacle]}. {self._examine_receptacle(receptacle)}"

    def _close(self, receptacle: str) -> str:
        self._true["opened"].discard(receptacle)
        self._changed()
        return f"You close the {self._game.names[receptacle]}."

    def _take(self, thing: str, receptacle: str) -> str:
        self._contents[receptacle].discard(thing)
        self._taken.add((thing, receptacle))
        self._lying.get(self._location, set()).discard(thing)
        self._held = thing
        self._changed()
        return f"You pick up the {self._game.names[thing]} from the {self._game.names[receptacle]}."

    def _move(self, thing: str, receptacle: str) -> str:
        self._contents[receptacle].add(thing)
        self._taken.discard((thing, receptacle))
        self._lying.setdefault(self._location, set()).add(thing)
        self._held = None
        self._changed()
        return f"You move the {self._game.names[thing]} to the {self._game.names[receptacle]}."

    def _clean(self, thing: str, receptacle: str) -> str:
        self._true["isclean"].add(thing)
        self._changed()
        return f"You clean the {self._game.names[thing]} using the {self._game.names[receptacle]}."

    def _heat(self, thing: str, receptacle: str) -> str:
        self._true["ishot"].add(thing)
        self._true["iscool"].discard(thing)
        self._changed()
        return f"You heat the {self._game.names[thing]} using the {self._game.names[receptacle]}."

    def _cool(self, thing: str, receptacle: str) -> str:
        self._true["iscool"].add(thing)
        self._true["ishot"].discard(thing)
        self._changed()
        return f"You cool the {self._game.names[thing]} using the {self._game.names[receptacle]}."

    def _use(self, thing: str) -> str:
        """Nothing ever becomes untoggled, so the grammar's "You turn off" is never said."""
        self._true["istoggled"].add(thing)
        self._changed()
        return f"You turn on the {self._game.names[thing]}."

    def _slice(self, thing: str, knife: str) -> str:
        self._true["issliced"].add(thing)
        self._changed()
        return f"You sliced the {self._game.names[thing]} with the {self._game.names[knife]}."

    # ---- commands that only look

    def _help(self) -> str:
        return self._game.help

    def _inventory(self) -> str:
        if self._held is None:
            return "You are not carrying anything."
        return f"You are carrying: {self._listing([self._held])}."

    def _look(self) -> str:
        """A thing counts as "next to" a receptacle only once it was taken out of it: the engine keeps no
        negative facts before an action has made them. In mid-room it lists nothing but at the start.
        """
        receptacles = self._receptacles.get(self._location)
        if not receptacles:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        facing = _join([self._game.names[receptacle] for receptacle in receptacles])
        beside = self._listing(
            thing
            for thing in sorted(self._lying.get(self._location, ()))
            for receptacle in receptacles
            if (thing, receptacle) in self._taken
        )
        return f"You are facing the {facing}. Next to it, you see {beside}."

    def _examine_receptacle(self, receptacle: str) -> str:
        name, contents = self._game.names[receptacle], self._listing(sorted(self._contents[receptacle]))
        if receptacle not in self._game.having("openable"):
            return f"On the {name}, you see {contents}."
        if receptacle in self._true["opened"]:
            return f"The {name} is open. In it, you see {contents}."
        return f"The {name} is closed."

    def _examine_object(self, thing: str) -> str:
        name = self._game.names[thing]
        if thing in self._game.having("isreceptacleobject"):
            inside = sorted(inner for inner, outer in self._game.facts["inreceptacleobject"] if outer == thing != inner)
            return f"This is a normal {name}. In it, you see {self._listing(inside)}."
        true_of_it = {predicate for predicate, things in self._true.items() if thing in things}
        true_of_it |= {predicate for predicate in _LASTING if thing in self._game.having(predicate)}
        return next(text for properties, text in _EXAMINED if true_of_it.issuperset(properties)).format(name)

    def _listing(self, things: Iterable[str]) -> str:
        return _join([f"a {self._game.names[thing]}" for thing in things])


def _join(words: list[str]) -> str:
    """`a, b, and c`, as the grammar's list rules have it."""
    if len(words) < 2:
        return words[0] if words else "nothing"
    return f"{', '.join(words[:-1])}, and {words[-1]}"
