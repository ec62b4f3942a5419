"""A game's scene in which synthetic commands work too, and reaching the synthetic task's goals wins.

It wraps duomem's engine and speaks as it does: "You polish the mug 1 using the shelf 2.".
"""

from __future__ import annotations

import copy
import re

from duomem.core.reading import digest_of
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game
from duomem.device.world.env import Observation
from duomem.train.synthetic.task import SyntheticTask
from duomem.train.teachers.expert import items_in, kind

_TASK = re.compile(r"(?<=Your task is to: )[^\n]*")


class SyntheticEnv:
    """Implements env.Env for one synthetic task."""

    def __init__(self, task: SyntheticTask) -> None:
        self._task = task
        self._env = AlfworldEnv()

    def reset(self, game: Game) -> Observation:
        """Start `game`'s scene with the synthetic task in the place of its own."""
        self._held: str | None = None
        self._treated: set[str] = set()
        self._left = list(self._task.goals)
        started = self._env.reset(game)
        return self._observe(_TASK.sub(self._task.sentence, started.text), started)

    def step(self, command: str) -> Observation:
        """As AlfworldEnv.step, with the synthetic commands."""
        command = command.strip()
        said = self._commands.get(command)
        if said is None:
            observed = self._env.step(command)
            self._follow(command, observed.text)
            return self._observe(observed.text, observed)
        verb = command.split(" ", 1)[0]
        self._treated.add(verb)
        goal = self._left[0]
        if goal.receptacle is None and (goal.lamp is None or verb == goal.use):
            self._reach()
        return self._observe(said, self._env.step("inventory"))

    def clone(self) -> SyntheticEnv:
        """Another env in the same state; each is then stepped without a change to the other."""
        twin = copy.copy(self)
        twin._env = self._env.clone()
        twin._treated, twin._left = set(self._treated), list(self._left)
        return twin

    @property
    def state_id(self) -> str:
        """32 hex digits: a digest of the game's state and of how far the task is."""
        return digest_of([self._env.state_id, self._task.sentence, self.reached, sorted(self._treated)])[:32]

    def _synthetic_commands(self) -> dict[str, str]:
        """Synthetic commands that apply now -> what they say."""
        if self._held is None or not self._left:
            return {}
        admissible = self._env.step("inventory").admissible
        here = [c.removeprefix("examine ") for c in admissible if c.startswith("examine ")]
        goal, held = self._left[0], self._held
        commands = {
            f"{verb} {held} with {place}": f"You {verb} the {held} using the {place}."
            for verb, device in goal.treatments
            for place in here
            if kind(place) == device
        }
        if goal.lamp is not None:
            for place in here:
                for thing in items_in(self._env.step(f"examine {place}").text):
                    if kind(thing) == goal.lamp:
                        commands[f"{goal.use} {thing}"] = f"You {goal.use} the {thing}."
        return commands

    def _follow(self, command: str, text: str) -> None:
        """Keep up with what is held, and see whether a placing was the one asked for."""
        if text.startswith("You pick up "):
            self._held, self._treated = command.removeprefix("take ").split(" from ")[0], set()
        elif text.startswith("You move "):
            if self._left and kind(command.split(" to ")[-1]) == self._left[0].receptacle:
                self._reach()
            self._held = None

    def _reach(self) -> None:
        """Go on to the next goal if this one's thing is held and was treated. That its last act was done is the
        caller's to see: a placing, or a verb where no place is asked for.
        """
        goal = self._left[0]
        if (
            self._held is not None
            and kind(self._held) == goal.object
            and {verb for verb, _ in goal.treatments} <= self._treated
        ):
            del self._left[0]
            self._treated = set()

    def _observe(self, text: str, observed: Observation) -> Observation:
        won = not self._left
        self._commands = self._synthetic_commands()
        return Observation(text, tuple(sorted({*observed.admissible, *self._commands})), won, won)

    @property
    def reached(self) -> int:
        """How many of the task's goals are reached."""
        return len(self._task.goals) - len(self._left)
