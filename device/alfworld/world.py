"""ALFWorld as a World: its splits, goals, and the prompt that its students are trained on."""

from __future__ import annotations

import re
from pathlib import Path

from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.scene import kinds_of, receptacles
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.exploration import ExplorationTracker, summary
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import SPLITS, describe_path, find_games, resolve_root
from duomem.device.alfworld.goal import TASK_TYPES
from duomem.device.world.world import World

_ARRIVE = re.compile(r"^You arrive at [^.]*\. ")
_OPENED = re.compile(r"^You open the [^.]*\. The [^.]* is open\. ")
_HELP = re.compile(r":  +[^\n]*")


class AlfworldWorld(World):
    """ALFWorld, as its 0.4.x plays it. See World."""

    name = DEFAULT_WORLD
    splits = SPLITS
    task_types = TASK_TYPES
    system = (
        "You solve household tasks. Reply to each > with one command: "
        "go to, open, close, take, move, clean, heat, cool, use, examine, look, inventory.\n"
    )

    def scene(self, intro: str) -> str:
        """The receptacles: "Room: cabinet 1-6, fridge 1."."""
        return f"Room: {summary(receptacles(intro))}."

    def shorten(self, observation: str) -> str:
        """An observation on one line, without what the command before it already says and without the
        explanations of `help`; every object stays in it.
        """
        text = " ".join(_HELP.sub(";", _OPENED.sub("", _ARRIVE.sub("", observation.strip()))).split())
        return text.replace(", and a ", ", a ").replace(", a ", ", ").replace("you see a ", "you see ")

    def reminder(self, intro: str) -> ExplorationTracker:
        """Of the places not looked into yet: a small student loses count of them."""
        return ExplorationTracker(intro)

    def place_kinds(self, intro: str) -> tuple[str, ...]:
        """The kinds of receptacles."""
        return kinds_of(receptacles(intro))

    def make_env(self) -> AlfworldEnv:
        """See World."""
        return AlfworldEnv()

    def load_game(self, path: Path) -> Game:
        """See World."""
        return load_game(path)

    def resolve_root(self, root: Path | None) -> Path:
        """See game_files.resolve_root."""
        return resolve_root(root)

    def find_games(self, root: Path, split: str) -> list[Path]:
        """See game_files.find_games."""
        return find_games(root, split)

    def describe(self, game: Path) -> tuple[str, str]:
        """See game_files.describe_path."""
        return describe_path(game)


ALFWORLD = AlfworldWorld()
