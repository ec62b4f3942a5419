"""A world: where its games are, its engine, and how what it says becomes a prompt.

A world of one's own is a subclass with a name, a system text and an engine; docs/your-own-world.md shows one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

from duomem.core.errors import GameError, ModelError
from duomem.core.trajectory import TRAIN_SPLIT
from duomem.device.world.env import Env
from duomem.device.world.game import Game, read_json_game

_GOAL = re.compile(r"Your task is to: ([^\n]*)")


class Reminder(Protocol):
    """What one episode reminds its player of."""

    def observe(self, command: str, text: str) -> str:
        """Note a command and the observation after it; what is said after that observation, "" for nothing."""
        ...


class World:
    """What is the same for all games of a world. What a subclass does not say is as here.

    name: as trajectories, packs and --world say it. splits: of its games, the one to learn from first. task_types: of
    its games. system: the first text of every prompt, a line; with `task_line` it is what students are trained on.
    game_file: the name of a game's file in ROOT/SPLIT/GROUP/NAME.
    """

    name: str
    splits: tuple[str, ...] = (TRAIN_SPLIT, "test")
    task_types: tuple[str, ...] = ()
    system: str = "Reply to each > with one command.\n"
    game_file: str = "game.json"

    def goal(self, intro: str) -> str:
        """The goal sentence of an episode's first observation. Raises ModelError if the text holds none."""
        match = _GOAL.search(intro)
        if match is None:
            raise ModelError("the game's intro holds no 'Your task is to: ...' line: not a game of this world")
        return match.group(1).strip()

    def scene(self, intro: str) -> str:
        """The prompt's line on the scene: what the intro says beside the goal."""
        return self.shorten(_GOAL.sub("", intro))

    def shorten(self, observation: str) -> str:
        """An observation on one line, as the prompt holds it."""
        return " ".join(observation.split())

    def reminder(self, intro: str) -> Reminder | None:
        """What an episode is reminded of, None for nothing."""
        return None

    def place_kinds(self, intro: str) -> tuple[str, ...]:
        """The kinds of places that the scene lists, among them a goal's target; none where goals have no target."""
        return ()

    def make_env(self) -> Env:
        """A new engine."""
        raise NotImplementedError

    def expert(self, game: Any, intro: str) -> Any:
        """A program that plays a game well, as a Policy: the teacher of `duomem teach`. Raises GameError for none."""
        raise GameError(f"--world {self.name}: brings no expert: let a language model teach, see --teacher")

    def load_game(self, path: Path) -> Game:
        """The game in a file. Raises GameError naming the file and the field that is wrong."""
        return read_json_game(path, self.name)

    def resolve_root(self, root: Path | None) -> Path:
        """The folder of games: `root`, or the world's own. Raises GameError if there is none."""
        if root is None or not any((root / split).is_dir() for split in self.splits):
            raise GameError(
                f"{root or '--games'}: no games of the world {self.name} here: give the folder that holds "
                f"{', '.join(self.splits)}"
            )
        return root

    def find_games(self, root: Path, split: str) -> list[Path]:
        """The game files of a split, sorted. Raises GameError for an unknown split."""
        if split not in self.splits:
            raise GameError(f"{split!r} is not a split of {self.name}: choose one of {', '.join(self.splits)}")
        return sorted((root / split).rglob(self.game_file))

    def describe(self, game: Path) -> tuple[str, str]:
        """(task type, scene) of a game file as its folder TASK-...-SCENE names them, without opening it."""
        task_type, *_, scene = game.parent.parent.name.split("-")
        return task_type, scene
