"""What a game asks for: a task type, an object type and a target type that a scene allows, and how it is said."""

from __future__ import annotations

import random
from dataclasses import dataclass

from duomem.train.games.layouts import FloorPlan
from duomem.train.games.placement import capacity, places_for
from duomem.train.games.wheel import Wheel

LAMP = "DeskLamp"  # the floor lamps of the official scenes stand on the floor and cannot be used

# Task type -> (property the object needs, kind of receptacle that changes it).
_CHANGES = {
    "pick_clean_then_place_in_recep": ("Cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("Heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("Coolable", "Fridge"),
}


@dataclass(frozen=True)
class GeneratedGoal:
    """task_type: one of goal.TASK_TYPES. thing: "Mug". target: the receptacle kind "CoffeeMachine", or LAMP."""

    task_type: str
    thing: str
    target: str

    @property
    def things_needed(self) -> int:
        """How many objects of the type a scene must have."""
        return 2 if self.task_type == "pick_two_obj_and_place" else 1

    @property
    def kept_from(self) -> str | None:
        """The kind of receptacle in which no such object lies at the start: the target, as in the official
        games, unless the object must be changed or looked at first.
        """
        return None if self.task_type in _CHANGES or self.target == LAMP else self.target

    @property
    def starts_cool(self) -> bool:
        """Whether such objects in the fridge are cool already: always, unless cooling them is the task."""
        return self.task_type != "pick_cool_then_place_in_recep"

    def sentence(self, wheel: Wheel, rng: random.Random) -> str:
        """The goal sentence, without its full stop, from the templates of the task type."""
        template: str = rng.choice(wheel.goals[self.task_type]["templates"])
        thing, target = self.thing.lower(), self.target.lower()
        return template.format(obj=thing, recep=target, toggle=target)

    def pddl(self, wheel: Wheel) -> str:
        """The `:goal` section, and the parenthesis that closes the problem."""
        text: str = wheel.goals[self.task_type]["pddl"].replace("#", "-")
        return text.format(obj=self.thing, recep=self.target, toggle=self.target)


def possible_goals(wheel: Wheel, plan: FloorPlan, task_type: str) -> list[GeneratedGoal]:
    """Every goal of a task type that a scene allows, in a fixed order; none if the scene lacks what it takes."""
    needed, device = _CHANGES.get(task_type, (None, None))
    if device is not None and device not in plan.kinds:
        return []
    movable = [
        kind
        for kind in plan.object_types
        if places_for(wheel, plan, kind)
        and any(kind in held for held in wheel.fits.values())
        and (needed is None or kind in wheel.properties[needed])
    ]
    if task_type == "look_at_obj_in_light":
        has_lamp = LAMP in plan.object_types and places_for(wheel, plan, LAMP)
        return [GeneratedGoal(task_type, kind, LAMP) for kind in movable] if has_lamp else []
    goals = [
        GeneratedGoal(task_type, kind, target)
        for kind in movable
        for target in plan.kinds
        if kind in wheel.fits[target] and target != device and places_for(wheel, plan, kind) != [target]
    ]
    return [goal for goal in goals if goal.things_needed <= capacity(goal.target)]
