"""A class for `environment_factory` of trl's GRPOTrainer: each thing a player can do is a tool of its own.

The data set names the game of each row, so that all generations of a prompt play the same: see `rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alfworld_lite._engine.annotations import tell
from alfworld_lite._engine.errors import GameError
from alfworld_lite.single import AlfworldEnv, load_game

INSTRUCTION = (
    "You are in a house. Do the task with the tools, one call at a time. Names have numbers, as in 'mug 2'. Look for "
    "what you need: go to places, open what is closed.\n\n"
)


class AlfworldTools:
    """One game. Public methods beside `reset` and `get_reward` are the model's tools; subclass it to change max_steps.

    Attributes: won, steps, and state_id, a digest of the game's state.
    """

    max_steps = 50

    def __init__(self) -> None:
        self._env = AlfworldEnv()
        self._text = ""
        self._is_started = False
        self._puts = "move {} to {}"
        self.won = False
        self.steps = 0

    def reset(self, **kwargs: Any) -> str:
        """Start a game: (a row of the data set) gamefile is its path; goal, if there, the words its goal is told in.

        Returns the intro, which ends with the task. Raises GameError without a game.
        """
        path = kwargs.get("gamefile")
        if not isinstance(path, str):
            raise GameError("the data set has no column gamefile with the path of a game in each row: see rows()")
        game = load_game(path)
        goal = kwargs.get("goal")
        self._puts = "move {} to {}" if game.dialect == "0.4" else "put {} in/on {}"
        self.won, self.steps, self._is_started = False, 0, True
        text = self._env.reset(tell(game, goal) if goal else game).text
        return text.partition("\n\n")[2]

    def get_reward(self) -> float:
        """1 if the game was won, else 0."""
        return float(self.won)

    @property
    def state_id(self) -> str:
        """A digest of the game and its state."""
        return self._env.state_id

    def go_to(self, place: str) -> str:
        """
        Walk to a place, a piece of furniture or a device, and see what is there.

        Args:
            place: Where to go, as in "desk 1".

        Returns:
            What you see.
        """
        return self._play(f"go to {place}")

    def open(self, place: str) -> str:
        """
        Open the closed place in front of you.

        Args:
            place: What to open, as in "drawer 2".

        Returns:
            What is in it.
        """
        return self._play(f"open {place}")

    def close(self, place: str) -> str:
        """
        Close the open place in front of you.

        Args:
            place: What to close, as in "drawer 2".

        Returns:
            What happens.
        """
        return self._play(f"close {place}")

    def take(self, thing: str, place: str) -> str:
        """
        Take a thing from the place in front of you. You can hold one thing at a time.

        Args:
            thing: What to take, as in "mug 1".
            place: Where it is, as in "desk 1".

        Returns:
            What happens.
        """
        return self._play(f"take {thing} from {place}")

    def put(self, thing: str, place: str) -> str:
        """
        Put the thing you hold in or on the place in front of you.

        Args:
            thing: What you hold, as in "mug 1".
            place: Where to put it, as in "desk 1".

        Returns:
            What happens.
        """
        return self._play(self._puts.format(thing, place))

    def clean(self, thing: str, place: str) -> str:
        """
        Clean the thing you hold, with a sink or bathtub in front of you.

        Args:
            thing: What you hold, as in "mug 1".
            place: What to clean it with, as in "sinkbasin 1".

        Returns:
            What happens.
        """
        return self._play(f"clean {thing} with {place}")

    def heat(self, thing: str, place: str) -> str:
        """
        Heat the thing you hold, with a microwave in front of you.

        Args:
            thing: What you hold, as in "egg 1".
            place: What to heat it with, as in "microwave 1".

        Returns:
            What happens.
        """
        return self._play(f"heat {thing} with {place}")

    def cool(self, thing: str, place: str) -> str:
        """
        Cool the thing you hold, with a fridge in front of you.

        Args:
            thing: What you hold, as in "egg 1".
            place: What to cool it with, as in "fridge 1".

        Returns:
            What happens.
        """
        return self._play(f"cool {thing} with {place}")

    def slice(self, thing: str, knife: str) -> str:
        """
        Slice a thing in front of you with the knife you hold.

        Args:
            thing: What to slice, as in "apple 1".
            knife: The knife you hold, as in "knife 1".

        Returns:
            What happens.
        """
        return self._play(f"slice {thing} with {knife}")

    def use(self, thing: str) -> str:
        """
        Switch on a thing in front of you, such as a lamp.

        Args:
            thing: What to switch on, as in "desklamp 1".

        Returns:
            What happens.
        """
        return self._play(f"use {thing}")

    def examine(self, thing: str) -> str:
        """
        Look closely at the place in front of you or the thing you hold.

        Args:
            thing: What to look at, as in "desk 1".

        Returns:
            What you see.
        """
        return self._play(f"examine {thing}")

    def look(self) -> str:
        """
        Look around where you are.

        Returns:
            What you see.
        """
        return self._play("look")

    def inventory(self) -> str:
        """
        See what you are carrying.

        Returns:
            What you hold.
        """
        return self._play("inventory")

    def _play(self, command: str) -> str:
        """Raises ValueError, which the trainer tells the model, once the game is over."""
        if self.won or self.steps >= self.max_steps or not self._is_started:
            raise ValueError("The game is over.")
        self.steps += 1
        seen = self._env.step(command)
        self.won = seen.won
        return f"{seen.text} The task is done." if seen.won else seen.text


def rows(game_files: Sequence[str | Path], instruction: str = INSTRUCTION) -> list[dict[str, Any]]:
    """A data set for GRPOTrainer, one row a game: `Dataset.from_list(rows(find_games(folder, "train")))`."""
    return [{"prompt": [{"role": "user", "content": instruction}], "gamefile": str(path)} for path in game_files]
