"""Misreading: a goal is first understood wrongly, its wrong reading is played, and the expert goes on to the right one.

The student sees the error and learns what to do where an act that should have won did not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from duomem.core.scene import kinds_of, receptacles
from duomem.device.agent.policy import Policy
from duomem.device.alfworld.game import Game
from duomem.device.world.env import Observation
from duomem.train.lexicon_folds import LexiconFolds
from duomem.train.teachers.expert import Expert, kind
from duomem.train.teachers.goal_spec import GoalSpec, goal_of

_LONGEST = 18
"""Most steps of a wrong reading: what is not found by then is given up."""

_READINGS = 4
"""Wrong readings are drawn from this many of the likeliest."""

_ANOTHER = 0.3
"""Chance that a wrong reading is followed by another."""


def misread(game: Game, intro: str, words: LexiconFolds, rng: random.Random) -> list[GoalSpec]:
    """Wrong goals that the words of `game` may well mean, mostly one, in the order they are tried; none if there is no
    other reading.

    intro: the first observation's text. words: what others' words mean.
    """
    true = game.goal.triple
    lexicon = words.of(game.path.parent.parent.name)
    ranked = lexicon.rank(game.task, words.known, kinds_of(receptacles(intro)))
    likely = [(chance, goal) for chance, goal in ranked[: _READINGS + 1] if goal != true and chance > 0][:_READINGS]
    drawn: list[GoalSpec] = []
    while likely and (not drawn or rng.random() < _ANOTHER):
        chosen = rng.choices(range(len(likely)), [chance**0.5 for chance, _ in likely])[0]
        drawn.append(goal_of(*likely.pop(chosen)[1]))
    return drawn


class Misreading(Policy):
    """The expert at wrong goals, one after another, and then at the right one. Steps of a wrong one are noise."""

    def __init__(self, expert: Expert, wrong: Sequence[GoalSpec]) -> None:
        """expert: made for the right goal. wrong: other goals in the words of the same game, in the order tried."""
        self._expert = expert
        self._goals = [*wrong, expert.goal]
        self._steps = 0
        self._pursue()

    def act(self, observation: Observation, /) -> str:
        """The expert's command at the goal that is being tried."""
        command = self._expert.act(observation)
        while self.is_noise and (command == "look" or self._steps == _LONGEST):  # nothing of that kind is here
            self._next()
            command = self._expert.act(observation)
        self._steps += 1
        return command

    def observe(self, command: str, observation: Observation, /) -> None:
        """Tell the expert; on to the next goal where the last act of a wrong one was done."""
        self._expert.observe(command, observation)
        if self.is_noise and observation.text.startswith("You ") and self._ends(command):
            self._next()

    def close(self) -> None:
        """Nothing to close."""

    def _next(self) -> None:
        del self._goals[0]
        self._pursue()

    def _pursue(self) -> None:
        self._steps = 0
        self.is_noise = len(self._goals) > 1
        self._expert.pursue(self._goals[0])

    def _ends(self, command: str) -> bool:
        """Whether a command is the last act of the goal being tried: its lamp is used, or a thing is put there."""
        goal = self._goals[0]
        if goal.lamp is not None:
            return command.startswith(f"{goal.use} ")
        thing, to, place = command.removeprefix("move ").partition(" to ")
        return bool(to) and kind(thing) == goal.object and kind(place) == goal.receptacle
