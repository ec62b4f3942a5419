"""Games no generator makes: random further facts, to reach the corners of the rules the engines share."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from duomem.device.alfworld.game import Game

_STATES = (
    "isclean",
    "ishot",
    "iscool",
    "issliced",
    "istoggled",
    "toggleable",
    "cleanable",
    "heatable",
    "coolable",
    "sliceable",
    "pickupable",
    "isreceptacleobject",
)


def perturb(game: Game, out: Path, seed: int) -> Path:
    """Write a variant of `game` under `out`: objects in two places, in one another or in themselves, already
    hot, sliced or switched on, lamps and plants that can be carried, doors open, receptacles moved together,
    the player starting before one of them.
    """
    rng = random.Random(seed)
    objects, receptacles = sorted(game.object_type), sorted(game.receptacle_type)
    meeting = rng.sample(sorted(set(game.receptacle_location.values())), 3)
    facts = [f"({state} {thing})" for thing in objects for state in _STATES if rng.random() < 0.25]
    facts += [f"(opened {place})" for place in sorted(game.having("openable")) if rng.random() < 0.5]
    facts += [f"(inreceptacle {rng.choice(objects)} {rng.choice(receptacles)})" for _ in range(15)]
    facts += [f"(objectatlocation {rng.choice(objects)} {rng.choice(meeting)})" for _ in range(5)]
    facts += [f"(inreceptacleobject {rng.choice(objects)} {rng.choice(objects)})" for _ in range(10)]
    facts += [f"(inreceptacleobject {thing} {thing})" for thing in rng.sample(objects, 2)]
    facts += [f"(inreceptacle ornament {place})" for place in rng.sample(receptacles, 3)]
    fields = json.loads(game.path.read_bytes())
    problem = fields["pddl_problem"].lower()
    for place in receptacles:
        if rng.random() < 0.6:
            problem = re.sub(rf"(\(receptacleatlocation {place}) \S+\)", rf"\1 {rng.choice(meeting)})", problem)
    if seed % 2:
        problem = re.sub(r"(\(atlocation agent1) \S+\)", rf"\1 {meeting[0]})", problem)
    problem = problem.replace("(:init", "(:init (pickupable ornament) " + "\n".join(facts))
    problem = problem.replace("(:objects", "(:objects ornament - object")
    fields["pddl_problem"] = problem
    path = out / f"variant-{seed}" / "trial" / game.path.name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(fields))
    return path
