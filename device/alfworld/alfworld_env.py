"""An ALFWorld engine: the official engine's texts, in plain Python, some thousand times faster.

Rules and texts follow alfred.pddl and alfred.twl2 of ALFWorld as TextWorld 1.7.0 plays them, quirks included;
docs/alfworld.md lists the quirks, tests/device/alfworld/test_equality.py compares step by step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.core.reading import digest_of
from duomem.device.alfworld.game import Game
from duomem.device.alfworld.goal import Atom
from duomem.device.alfworld.stage import join
from duomem.device.world.env import Observation

_INTRO = "-= Welcome to TextWorld, ALFRED! =-"
_NOTHING: frozenset[str] = frozenset()

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

_LASTING = ("toggleable", "sliceable")  # predicates that do not change and that `examine` tells


class AlfworldEnv:
    """One ALFWorld game at a time, played by text commands (keeps `Env`).

    Winning does not lock the game: as in the official engine, commands still work, and `done` and `won` say whether
    the goal holds now.
    """

    def reset(self, game: Game) -> Observation:
        """Start `game`; the observation's text is the intro with the goal sentence."""
        self._game = game
        self._stage = stage = game.stage
        self._location = game.start
        self._held: str | None = None
        self._true = dict(stage.true)
        self._contents = dict(stage.contents)
        self._lying = dict(stage.lying)
        self._taken: frozenset[tuple[str, str]] = frozenset()  # (object, receptacle) taken out and not put back
        self._won = game.goal.reached(self._is_true)
        self._look_around()
        if self._location in stage.receptacles:
            view = self._look()
        else:
            around = stage.listing(game.receptacle_location)
            view = f"You are in the middle of a room. Looking quickly around you, you see {around}."
        return self._observe(f"{_INTRO}\n\n{view}\n\nYour task is to: {game.task}")

    def step(self, command: str) -> Observation:
        """Play one command; an unknown or inapplicable one gives "Nothing happens."."""
        command = command.strip()
        action = self._options.actions.get(command)
        if action is not None:
            return self._observe(_DEEDS[action[0]](self, *action[1:]))
        destination = self._stage.destinations.get(command)
        if destination is None or self._game.receptacle_location[destination] == self._location:
            return self._observe(NOTHING_HAPPENS)
        return self._observe(self._go(destination))

    def clone(self) -> AlfworldEnv:
        """Another env in the same state, in some microseconds: what no command changes is shared."""
        twin = copy.copy(self)
        twin._true, twin._contents, twin._lying = dict(self._true), dict(self._contents), dict(self._lying)
        return twin

    @property
    def state_id(self) -> str:
        """32 hex digits: a digest of the game and of everything that commands change."""
        groups = (self._true, self._contents, self._lying)
        sets = [{key: sorted(things) for key, things in group.items() if things} for group in groups]
        return digest_of([self._game.digest, self._location, self._held, *sets, sorted(self._taken)])[:32]

    def _observe(self, text: str) -> Observation:
        return Observation(text, self._options.admissible, self._won, self._won)

    def _changed(self, predicate: str, thing: str) -> None:
        """Work out anew what follows from the state, after `predicate` changed of `thing`: the commands that apply and
        whether the goal holds.
        """
        self._look_around()
        if self._game.goal.is_about(predicate, thing):
            self._won = self._game.goal.reached(self._is_true)

    def _look_around(self) -> None:
        self._options = self._stage.options(
            self._location, self._held, self._true["opened"], self._contents, self._lying
        )

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

    # ---- what they do and say: the effects of alfred.pddl and the texts of alfred.twl2

    def _go(self, receptacle: str) -> str:
        game = self._game
        self._location = game.receptacle_location[receptacle]
        self._changed("atlocation", self._location)
        place = receptacle if game.dialect == "0.4" else self._location
        return f"You arrive at {game.names[place]}. {self._view(receptacle)}"

    def _open(self, receptacle: str) -> str:
        self._set("opened", receptacle)
        return f"You open the {self._game.names[receptacle]}. {self._view(receptacle)}"

    def _close(self, receptacle: str) -> str:
        self._true["opened"] -= {receptacle}
        self._changed("opened", receptacle)
        return f"You close the {self._game.names[receptacle]}."

    def _take(self, thing: str, receptacle: str) -> str:
        self._contents[receptacle] -= {thing}
        self._taken |= {(thing, receptacle)}
        self._lying[self._location] = self._lying.get(self._location, _NOTHING) - {thing}
        self._held = thing
        self._changed("holds", thing)
        return f"You pick up the {self._game.names[thing]} from the {self._game.names[receptacle]}."

    def _move(self, thing: str, receptacle: str) -> str:
        self._contents[receptacle] |= {thing}
        self._taken -= {(thing, receptacle)}
        self._lying[self._location] = self._lying.get(self._location, _NOTHING) | {thing}
        self._held = None
        self._changed("holds", thing)
        names = self._game.names[thing], self._game.names[receptacle]
        if self._game.dialect == "0.4":
            return "You move the {} to the {}.".format(*names)
        return "You put the {} in/on the {}.".format(*names)

    def _clean(self, thing: str, receptacle: str) -> str:
        self._set("isclean", thing)
        return f"You clean the {self._game.names[thing]} using the {self._game.names[receptacle]}."

    def _heat(self, thing: str, receptacle: str) -> str:
        self._true["iscool"] -= {thing}
        self._set("ishot", thing)
        return f"You heat the {self._game.names[thing]} using the {self._game.names[receptacle]}."

    def _cool(self, thing: str, receptacle: str) -> str:
        self._true["ishot"] -= {thing}
        self._set("iscool", thing)
        return f"You cool the {self._game.names[thing]} using the {self._game.names[receptacle]}."

    def _use(self, thing: str) -> str:
        """Nothing ever becomes untoggled, so the grammar's "You turn off" is never said."""
        self._set("istoggled", thing)
        return f"You turn on the {self._game.names[thing]}."

    def _slice(self, thing: str, knife: str) -> str:
        self._set("issliced", thing)
        return f"You sliced the {self._game.names[thing]} with the {self._game.names[knife]}."

    def _set(self, predicate: str, thing: str) -> None:
        self._true[predicate] |= {thing}
        self._changed(predicate, thing)

    # ---- commands that only look

    def _help(self) -> str:
        return self._game.help

    def _inventory(self) -> str:
        if self._held is None:
            return "You are not carrying anything."
        return f"You are carrying: {self._stage.listing([self._held])}."

    def _look(self) -> str:
        """A thing counts as "next to" a receptacle only once it was taken out of it: the engine keeps no
        negative facts before an action has made them. In mid-room it lists nothing but at the start.
        """
        receptacles = self._stage.receptacles.get(self._location)
        if not receptacles:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        facing = join([self._game.names[receptacle] for receptacle in receptacles])
        beside = self._stage.listing(
            thing
            for thing in sorted(self._lying.get(self._location, ()))
            for receptacle in receptacles
            if (thing, receptacle) in self._taken
        )
        return f"You are facing the {facing}. Next to it, you see {beside}."

    def _view(self, receptacle: str) -> str:
        return self._stage.view(receptacle, self._true["opened"], self._contents[receptacle])

    def _examine(self, thing: str) -> str:
        name = self._game.names[thing]
        if thing in self._game.having("isreceptacleobject"):
            inside = sorted(inner for inner, outer in self._game.facts["inreceptacleobject"] if outer == thing != inner)
            return f"This is a normal {name}. In it, you see {self._stage.listing(inside)}."
        true_of_it = {predicate for predicate, things in self._true.items() if thing in things}
        true_of_it |= {predicate for predicate in _LASTING if thing in self._game.having(predicate)}
        return next(text for properties, text in _EXAMINED if true_of_it.issuperset(properties)).format(name)


_DEEDS: Mapping[str, Callable[..., str]] = {
    "look": AlfworldEnv._look,
    "inventory": AlfworldEnv._inventory,
    "help": AlfworldEnv._help,
    "view": AlfworldEnv._view,
    "examine": AlfworldEnv._examine,
    "open": AlfworldEnv._open,
    "close": AlfworldEnv._close,
    "take": AlfworldEnv._take,
    "move": AlfworldEnv._move,
    "clean": AlfworldEnv._clean,
    "heat": AlfworldEnv._heat,
    "cool": AlfworldEnv._cool,
    "use": AlfworldEnv._use,
    "slice": AlfworldEnv._slice,
}
"""What the verbs of stage.Action do; not bound to an env, so that clones share the actions."""
