"""Foreign episodes played again: what a file of others says is taken only where the game says the same.

Of the file come the commands and thoughts; observations, admissible commands and the outcome are the game's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from duomem.core.errors import GameError
from duomem.core.scene import receptacles
from duomem.core.told import Told
from duomem.core.trajectory import Trajectory
from duomem.device.agent.policy import Policy
from duomem.device.agent.rollout import rollout
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.annotations import read_annotations, tell
from duomem.device.alfworld.game import Game
from duomem.device.world.env import Observation
from duomem.train.teachers.llm.reply import read_reply

_GOAL = re.compile(r"Your task is to:[^\S\n]*(.+)")
_ARRIVED = re.compile(r"^you arrive at [^.]*\. ")
_PUT = re.compile(r"\byou put the (.+?) in/on the ")
_SHOWN = 60


class Differs(Exception):
    """The game does not say what the file says. after: commands that were played; the message tells where."""

    def __init__(self, after: int, what: str) -> None:
        super().__init__(what)
        self.after = after


class _Repeated(Policy):
    """The policy that says what a file says it said."""

    def __init__(self, told: Told) -> None:
        self._replies = [read_reply(said) for said in told.said]
        self._expected = told.observations[1:]
        self._played = 0

    def act(self, observation: Observation, /) -> str:
        reply = self._replies[self._played]
        self.thought = reply.thought
        return reply.command

    def observe(self, command: str, observation: Observation, /) -> None:
        number, self._played = self._played, self._played + 1
        if number < len(self._expected) and not _is_told(observation.text, self._expected[number]):
            raise Differs(
                number + 1,
                f"after command {number + 1}, {command[:_SHOWN]!r}, the game says {observation.text[:_SHOWN]!r}, "
                f"the file {self._expected[number][:_SHOWN]!r}",
            )

    def close(self) -> None:
        pass


def goal_of(told: Told) -> str:
    """The goal sentence in an episode's first observation, "" if there is none."""
    found = _GOAL.findall(told.observations[0])
    return found[-1].strip() if found else ""


def replay(told: Told, game: Game, split: str, player: str) -> Trajectory:
    """Play a foreign episode in `game`, to its end or the win. split, player: what the trajectory says of them.

    Raises Differs if the room, the goal or an observation is another than the file says.
    """
    told_game = _told(game, goal_of(told))
    env = AlfworldEnv()
    first = env.reset(told_game)
    if sorted(receptacles(first.text)) != sorted(receptacles(told.observations[0])):
        raise Differs(0, "the file's first observation is of another room than the game's")
    return rollout(env, _Repeated(told), first, len(told.said)).trajectory(told_game, split, player)


def _told(game: Game, goal: str) -> Game:
    """The game, its goal told in the file's words: the template's, a person's, or else somebody's own. Raises Differs
    for words that are no goal.
    """
    if same_sentence(goal, game.template) or not goal:
        return game
    number = next((i for i, said in enumerate(people(game)) if same_sentence(goal, said)), None)
    try:
        return tell(game, goal, "own" if number is None else f"human:{number}")
    except GameError as e:
        raise Differs(0, str(e)) from None


def people(game: Game) -> Sequence[str]:
    """People's sentences for the game's goal, none where there are none."""
    try:
        return read_annotations(game.path)
    except GameError:
        return ()


def same_sentence(one: str, other: str) -> bool:
    """Whether two goal sentences differ in case, spaces and the full stop alone."""
    return " ".join(one.lower().split()).strip(" .") == " ".join(other.lower().split()).strip(" .")


def _is_told(game: str, file: str) -> bool:
    """Whether a file's observation says what the game's does, be it in the words of ALFWorld before 0.4.0, and whatever
    else its writer put around it.
    """
    return _plain(game) in _plain(file)


def _plain(text: str) -> str:
    line = _PUT.sub(r"you move the \1 to the ", " ".join(text.lower().split()))
    return _ARRIVED.sub("", line)
