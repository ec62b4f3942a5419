"""What a task asks for: what object, what to do with it, where it goes; read from ALFWorld's goal sentences.

The sentence is all a player is told; the templates are those of ALFWorld's goal library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from duomem.core.errors import TrainError

TREATMENTS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""Verb of a treatment -> the receptacle that does it."""

_VERB = {"clean": "clean", "hot": "heat", "heat": "heat", "cool": "cool", "cold": "cool"}
_LOOK = re.compile(r"(?:look at|examine) (?:an? |the |some )?(\w+) (?:under|with) (?:an? |the )?(\w+)")
_TWO = re.compile(r"(?:put|find) two (\w+?) (?:and put them )?(?:in|on) (?:an? |the )?(\w+)")
_TREAT_FIRST = re.compile(r"(clean|heat|cool) (?:some|an?|the) (\w+) and put (?:it|them) (?:in|on) (?:an? |the )?(\w+)")
_TREATED = re.compile(r"put (?:an? |some |the )?(clean|hot|cool|cold) (\w+) (?:in|on) (?:an? |the )?(\w+)")
_PUT = re.compile(r"put (?:an? |some |the )?(\w+) (?:in|on) (?:an? |the )?(\w+)")


@dataclass(frozen=True)
class GoalSpec:
    """object: its type, as in names ("mug"); count: how many; treatments: (verb, type of the receptacle that
    does it), in order; receptacle: type of the destination, None without; lamp: type of a thing to `use` with
    the object held, a lamp in ALFWorld.
    """

    object: str
    count: int = 1
    treatments: tuple[tuple[str, str], ...] = ()
    receptacle: str | None = None
    lamp: str | None = None
    use: str = "use"

    def acts(self) -> list[str]:
        """What is done on the way to it after the taking, as if there were one of everything: "use desklamp 1"."""
        acts = [f"{verb} {self.object} 1 with {device} 1" for verb, device in self.treatments]
        if self.lamp is not None:
            acts.append(f"{self.use} {self.lamp} 1")
        if self.receptacle is not None:
            acts.append(f"move {self.object} 1 to {self.receptacle} 1")
        return acts


def goal_of(task_type: str, thing: str, target: str) -> GoalSpec:
    """The goal that a task type, an object type and a target type make ("mug", "coffeemachine").

    Raises TrainError for a task type that is not of ALFWorld's six.
    """
    if task_type == "look_at_obj_in_light":
        return GoalSpec(thing, lamp=target)
    if task_type == "pick_two_obj_and_place":
        return GoalSpec(thing, count=2, receptacle=target)
    if task_type == "pick_and_place_simple":
        return GoalSpec(thing, receptacle=target)
    for verb in TREATMENTS:
        if task_type == f"pick_{verb}_then_place_in_recep":
            return _treated(verb, thing, target)
    raise TrainError(f"task type {task_type!r} is none of ALFWorld's six")


def parse_goal(sentence: str) -> GoalSpec:
    """The goal a sentence states. Raises TrainError for a sentence of no known template."""
    text = sentence.strip().rstrip(".").lower()
    if m := _LOOK.fullmatch(text):
        return GoalSpec(m[1], lamp=m[2])
    if m := _TWO.fullmatch(text):
        return GoalSpec(m[1], count=2, receptacle=m[2])
    if m := _TREAT_FIRST.fullmatch(text):
        return _treated(m[1], m[2], m[3])
    if m := _TREATED.fullmatch(text):
        return _treated(_VERB[m[1]], m[2], m[3])
    if m := _PUT.fullmatch(text):
        return GoalSpec(m[1], receptacle=m[2])
    raise TrainError(f"goal sentence {sentence!r} is of no ALFWorld template the expert knows")


def _treated(verb: str, thing: str, receptacle: str) -> GoalSpec:
    return GoalSpec(thing, treatments=((verb, TREATMENTS[verb]),), receptacle=receptacle)
