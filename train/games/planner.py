"""A solution for a game by one who knows where everything is: the walkthrough stored in a generated game."""

from __future__ import annotations

from duomem.device.alfworld.game import Game

# Task type -> (verb, receptacle types it is done with).
_CHANGES = {
    "pick_clean_then_place_in_recep": ("clean", ("sinkbasintype", "sinktype")),
    "pick_heat_then_place_in_recep": ("heat", ("microwavetype",)),
    "pick_cool_then_place_in_recep": ("cool", ("fridgetype",)),
}


def plan_walkthrough(game: Game) -> list[str]:
    """Commands that win `game`, in order, without a wasted one.

    Raises ValueError if the scene lacks an object, a device or a target; AlfworldEnv says whether the plan wins.
    """
    return _Planner(game).plan()


class _Planner:
    def __init__(self, game: Game) -> None:
        self._game = game
        self._commands: list[str] = []
        self._opened: set[str] = set()
        self._at: str | None = None

    def plan(self) -> list[str]:
        goal = self._game.goal
        if goal.task_type == "look_at_obj_in_light":
            self._take(*self._find_things(1)[0])
            lamp, place = self._find(f"{goal.target_type}type")[0]
            self._go(place)
            self._commands.append(f"use {self._game.names[lamp]}")
            return self._commands
        target = self._find_receptacle((f"{goal.target_type}type",))
        for thing, place in self._find_things(2 if goal.task_type == "pick_two_obj_and_place" else 1):
            self._take(thing, place)
            if goal.task_type in _CHANGES:
                verb, kinds = _CHANGES[goal.task_type]
                device = self._find_receptacle(kinds)
                self._go(device)
                self._commands.append(f"{verb} {self._game.names[thing]} with {self._game.names[device]}")
            self._go(target, opening=True)
            self._commands.append(f"move {self._game.names[thing]} to {self._game.names[target]}")
        return self._commands

    def _find_things(self, count: int) -> list[tuple[str, str]]:
        """`count` objects of the goal's type and where they are, those not in a target receptacle first."""
        target = f"{self._game.goal.target_type}type"
        found = self._find(f"{self._game.goal.object_type}type")
        if len(found) < count:
            raise ValueError(f"the scene has {len(found)} objects of the goal's type, {count} needed")
        return sorted(found, key=lambda where: self._game.receptacle_type[where[1]] == target)[:count]

    def _find(self, kind: str) -> list[tuple[str, str]]:
        """Every object of a type with a receptacle it is in, sorted by id; at least one."""
        found = {
            thing: place
            for thing, place in sorted(self._game.facts["inreceptacle"])
            if self._game.object_type.get(thing) == kind
        }
        if not found:
            raise ValueError(f"the scene has no {kind} to be found")
        return list(found.items())

    def _find_receptacle(self, kinds: tuple[str, ...]) -> str:
        found = sorted(place for place, kind in self._game.receptacle_type.items() if kind in kinds)
        if not found:
            raise ValueError(f"the scene has no {' or '.join(kinds)}")
        return found[0]

    def _take(self, thing: str, place: str) -> None:
        self._go(place, opening=True)
        self._commands.append(f"take {self._game.names[thing]} from {self._game.names[place]}")

    def _go(self, place: str, opening: bool = False) -> None:
        """Walk to a receptacle, unless already there, and open it if asked to and it is closed."""
        location, name = self._game.receptacle_location[place], self._game.names[place]
        if self._at != location:
            self._commands.append(f"go to {name}")
            self._at = location
        if opening and place in self._game.having("openable") and place not in self._opened:
            self._commands.append(f"open {name}")
            self._opened.add(place)
