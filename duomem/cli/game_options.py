"""The options that say which games a command is for, and in whose words, as one value."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.options import Command, one_value
from duomem.cli.values import ANNOTATION, COUNT
from duomem.core.episode_words import DEFAULT_WORLD
from duomem.device.alfworld.game_files import SPLITS
from duomem.device.alfworld.goal import TASK_TYPES
from duomem.device.world.worlds import WORLDS, load_world

if TYPE_CHECKING:
    from duomem.device.alfworld.annotations import Goals
    from duomem.device.world.game import Game


@dataclass(frozen=True)
class GameChoice:
    """The games a command is for: those of `world` in `root` (see World.resolve_root) that the other fields leave."""

    root: Path | None
    split: str
    task_types: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    limit: int | None = None
    kind: str = "template"
    annotation: int | None = 0
    world: str = DEFAULT_WORLD

    @property
    def goals(self) -> Goals:
        """The words that tell their goals."""
        from duomem.device.alfworld.annotations import Goals

        if self.kind != "human" and self.annotation != 0:
            raise click.UsageError("--annotation: only people's sentences are numbered: give --goals human too.")
        if self.kind == "human" and self.world != DEFAULT_WORLD:
            raise click.UsageError(f"--goals human: the games of {self.world} have no people's words: leave it out.")
        return Goals(self.kind, self.annotation)

    def load(self, game: Path) -> Game:
        """The game in a file, told in the words of --goals. Raises GameError."""
        (task,) = self.goals.tasks([game])
        return task.load(load_world(self.world).load_game)

    def files(self) -> list[Path]:
        """Their game files; with a limit, that many of a fixed shuffle. Raises GameError if there are none."""
        from duomem.core.errors import GameError
        from duomem.core.reading import digest_of

        world = load_world(self.world)
        root = world.resolve_root(self.root)
        found = world.find_games(root, self.split)
        if self.task_types:
            found = [game for game in found if world.describe(game)[0] in self.task_types]
        if self.scenes:
            if unknown := sorted(set(self.scenes) - {world.describe(game)[1] for game in found}):
                raise GameError(
                    f"--scene {unknown[0]}: no {self.split} game of these is in this floor plan: give the "
                    "number a game's folder ends in"
                )
            found = [game for game in found if world.describe(game)[1] in self.scenes]
        if not found:
            raise GameError(f"{root}: no such {self.split} games: see what is there with `duomem games list`")
        if self.limit is None or self.limit >= len(found):
            return found
        shuffled = sorted(found, key=lambda f: digest_of(f"{f.parent.parent.name}/{f.parent.name}"))
        return sorted(shuffled[: self.limit])


class OfWorld(click.Choice[str]):
    """One of the splits or task types of the world that --world names; `field`: which of these it is."""

    def __init__(self, choices: Sequence[str], field: str) -> None:
        """choices: those of the default world."""
        super().__init__(choices)
        self._field = field

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        world = DEFAULT_WORLD if ctx is None else ctx.params.get("world", DEFAULT_WORLD)
        if world == DEFAULT_WORLD or ctx is None or param is None:
            return super().convert(value, param, ctx)
        known = getattr(load_world(world), self._field)
        is_default = ctx.get_parameter_source(str(param.name)) == click.core.ParameterSource.DEFAULT
        if value not in known and is_default:
            return known[-1]
        return click.Choice(known).convert(value, param, ctx)


def _check_world(ctx: click.Context, param: click.Parameter, name: str) -> str:
    if name != DEFAULT_WORLD:
        load_world(name)
    return name


world_option = click.option(
    "--world",
    default=DEFAULT_WORLD,
    metavar="NAME",
    is_eager=True,
    callback=_check_world,
    help=f"What is played: {', '.join(WORLDS)}, or a world of your own as MODULE:NAME, see docs/your-own-world.md.",
)
"""Eager: what it names says which splits and task types there are."""


game_option = click.option(
    "--game",
    metavar="FILE_OR_NUMBER",
    default="1",
    help="The game to play: a game.tw-pddl file, or a number from 1 on in the split.",
)
goal_option = click.option(
    "--goal",
    metavar="SENTENCE",
    show_default="the game's",
    help="Your own words for the goal, where the game's goal means the same. What wins the game stays as it is.",
)


def one_game(games: GameChoice, game: str, goal: str | None) -> Game:
    """The game that --game names, told as --goal says. Raises GameError, and UsageError for options that exclude each
    other.
    """
    from duomem.device.alfworld.annotations import tell

    if goal is not None and games.goals.kind == "human":
        raise click.UsageError("--goal: these are your own words: leave out --goals human.")
    if games.annotation is None:
        raise click.UsageError("--annotation all: one game is played once: give a number from 0 on.")
    chosen = games.load(_find(game, games))
    return chosen if goal is None else tell(chosen, goal)


def _find(game: str, games: GameChoice) -> Path:
    """The game file --game names."""
    from duomem.core.errors import GameError

    if not re.fullmatch("[0-9]{1,9}", game):
        return Path(game)
    files = games.files()
    number = int(game)
    if not 1 <= number <= len(files):
        raise GameError(f"--game {number}: {games.split} has {len(files)} games: give a number from 1 to {len(files)}")
    return files[number - 1]


def games_folder_option(help: str) -> Callable[[Any], Any]:
    """--games, a folder as `root` (see resolve_root)."""
    return click.option(
        "--games",
        "root",
        type=click.Path(path_type=Path),
        metavar="DIR",
        show_default="$ALFWORLD_DATA, else runs/games",
        help=help,
    )


def games_options(split: str, sample: bool = True) -> Callable[[Command], Command]:
    """--games, --split (`split` by default) and, for a `sample`, --task-type, --scene and --limit: one GameChoice."""
    options = [
        games_folder_option("Folder with games."),
        world_option,
        click.option("--split", type=OfWorld(SPLITS, "splits"), default=split, help="Which of the games."),
        click.option(
            "--goals",
            "kind",
            type=click.Choice(("template", "human")),
            default="template",
            help="Who words the goals: ALFWorld's templates, or people (traj_data.json beside each game).",
        ),
        click.option(
            "--annotation",
            type=ANNOTATION,
            default="0",
            metavar="N",
            help="Which of a game's human sentences, from 0 on"
            + (", or all: each is an episode of its own." if sample else "."),
        ),
    ]
    if sample:
        options += [
            click.option(
                "--task-type",
                "task_types",
                type=OfWorld(TASK_TYPES, "task_types"),
                metavar="NAME",
                multiple=True,
                show_default="all",
                help="Only games of this task type. Repeat it for more.",
            ),
            click.option(
                "--scene",
                "scenes",
                metavar="N",
                multiple=True,
                show_default="all",
                help="Only games of this floor plan, the number at the end of a game's folder. Repeat it for more.",
            ),
            click.option("--limit", type=COUNT, metavar="N", show_default="all", help="Only N games, a fixed sample."),
        ]
    return one_value("games", options, GameChoice)
