"""A synthetic task: new verbs done to things at places, and the sentences that ask for it.

Its shape is never that of a real task type: no one thing is merely moved, no lamp used, no two alike placed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from duomem.device.alfworld.game import Game
from duomem.train.synthetic import words
from duomem.train.teachers.goal_spec import GoalSpec

TASK_TYPE = "synthetic/"
"""Task type of a synthetic task: this and the number of its template."""

_LAMPS = ("desklamp", "floorlamp")
_NEAR = ("with", "by", "beside", "at", "near", "before")
_ON = ("in", "on", "at")


@dataclass(frozen=True)
class Scene:
    """What a template can be about in one scene, by type. places: receptacles; things: objects that lie on or in
    one and can be taken; fixtures: what a thing may be used with; fits: (thing, place) pairs that go together.
    """

    places: frozenset[str]
    things: tuple[str, ...]
    fixtures: tuple[str, ...]
    fits: frozenset[tuple[str, str]]


def scene_of(game: Game) -> Scene:
    """The scene of a *train* game."""
    places = {kind.removesuffix("type") for kind in game.receptacle_type.values()}
    lying = {thing for thing, _ in game.facts["inreceptacle"]}
    kinds = {thing: kind.removesuffix("type") for thing, kind in game.object_type.items() if thing in lying}
    things = {kind for thing, kind in kinds.items() if thing in game.having("pickupable")}
    fits = {(thing.removesuffix("type"), place.removesuffix("type")) for place, thing in game.facts["cancontain"]}
    return Scene(
        frozenset(places),
        tuple(sorted(things)),
        tuple(sorted(set(kinds.values()) - {*_LAMPS})),
        frozenset((thing, place) for thing, place in fits if thing in things and place in places),
    )


@dataclass(frozen=True)
class TaskTemplate:
    """sentences: with {thing}, {other} and {place} for what a task fills in. treatments: (verb, type of
    place) done to each thing; use: (verb, type of fixture) done with the thing held at the end.
    """

    sentences: tuple[str, ...]
    treatments: tuple[tuple[str, str], ...]
    use: tuple[str, str] | None

    def task(self, scene: Scene, rng: random.Random) -> SyntheticTask | None:
        """The template for things of this scene, None where it cannot be followed there."""
        sentence = rng.choice(self.sentences)
        if not {place for _, place in self.treatments} <= scene.places:
            return None
        if self.use is not None and self.use[1] not in scene.fixtures:
            return None
        things = [thing for thing in scene.things if self.use is None or thing != self.use[1]]
        place = None
        if "{place}" in sentence:
            place = rng.choice(sorted(scene.places - {p for _, p in self.treatments}) or [""])
            things = [thing for thing in things if (thing, place) in scene.fits]
        if len(things) < 2:
            return None
        chosen = rng.sample(things, 2 if "{other}" in sentence else 1)
        goals = tuple(
            GoalSpec(
                thing,
                treatments=self.treatments,
                receptacle=place,
                lamp=self.use[1] if self.use else None,
                use=self.use[0] if self.use else "use",
            )
            for thing in chosen
        )
        return SyntheticTask(sentence.format(thing=chosen[0], other=chosen[-1], place=place), goals)


@dataclass(frozen=True)
class SyntheticTask:
    """sentence: as a game states it ("put a zibby mug in shelf."); goals: what to reach, one after another."""

    sentence: str
    goals: tuple[GoalSpec, ...]


def make_template(scene: Scene, rng: random.Random) -> TaskTemplate:
    """A new template that can be followed in this scene."""
    places = sorted(scene.places)
    shapes = ["place"] * 3 + ["both", "treat"] + (["use"] * 3 if scene.fixtures else [])
    shape = rng.choice(shapes)
    count = {"place": (1, 2), "both": (0, 1), "treat": (1, 2), "use": (0, 1)}[shape]
    treatments = tuple(
        (words.verb(rng), place) for place in rng.sample(places, min(rng.randint(*count), len(places) - 1))
    )
    if len({verb for verb, _ in treatments}) < len(treatments):
        treatments = treatments[:1]
    verb = treatments[0][0] if treatments and rng.random() < 0.4 else words.verb(rng)
    use = None
    if shape == "use":
        fixture = rng.choice(scene.fixtures)
        use = words.verb(rng), fixture
        near = rng.choice(_NEAR)
        sentences: Sequence[str] = (
            f"{verb} {{thing}} {near} the {fixture}.",
            f"{verb} the {{thing}} {rng.choice(_NEAR)} the {fixture}.",
        )
    elif shape == "treat":
        sentences = (f"{verb} the {{thing}}.", f"{verb} some {{thing}}.", f"make the {{thing}} {words.quality(rng)}.")
    elif shape == "both":
        sentences = (
            f"{verb} {{thing}} and {{other}} {rng.choice(_ON)} {{place}}.",
            f"{verb} a {{thing}} and a {{other}} {rng.choice(_ON)} {{place}}.",
        )
    else:
        sentences = (
            f"put a {words.quality(rng)} {{thing}} {rng.choice(_ON)} {{place}}.",
            f"{verb} some {{thing}} and put it {rng.choice(_ON)} {{place}}.",
        )
    return TaskTemplate((rng.choice(sentences),) if rng.random() < 0.7 else tuple(sentences), treatments, use)
