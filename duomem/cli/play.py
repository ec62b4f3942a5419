"""`duomem play`: one game, played by a compiled student, readable in a terminal.

Runs on the device: no torch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.game_options import GameChoice, games_options
from duomem.cli.options import student_options
from duomem.cli.pack_overlay import open_overlay, overlay_option
from duomem.core.errors import GameError

if TYPE_CHECKING:
    from duomem.device.agent.choice import Choice
    from duomem.device.agent.evaluate import EvalConfig
    from duomem.device.world.env import Observation
    from duomem.memory_packs.memory import Memory
    from duomem.memory_packs.overlay import Overlay


@click.command(short_help="Play one game.")
@student_options
@games_options("valid_seen", sample=False)
@click.option(
    "--game",
    metavar="FILE_OR_NUMBER",
    default="1",
    help="The game to play: a game.tw-pddl file, or a number from 1 on in the split.",
)
@click.option(
    "--goal",
    metavar="SENTENCE",
    show_default="the game's",
    help="Your own words for the goal, where the game's goal means the same. What wins the game stays as it is.",
)
@click.option("--watch", is_flag=True, help="Print each step while it is played.")
@click.option(
    "--learn",
    is_flag=True,
    help="Write down beside the pack how its memories did and what was won, and play with what was written before.",
)
@overlay_option
def play(
    student: EvalConfig,
    games: GameChoice,
    game: str,
    goal: str | None,
    watch: bool,
    learn: bool,
    overlay: Path | None,
) -> None:
    """Play one game with the compiled student in BUNDLE, and print the episode."""
    from duomem.device.agent.evaluate import load_agent
    from duomem.device.alfworld.annotations import tell
    from duomem.memory_packs.pack import read_pack

    if goal is not None and games.goals.kind == "human":
        raise click.UsageError("--goal: these are your own words: leave out --goals human.")
    if games.annotation is None:
        raise click.UsageError("--annotation all: one game is played once: give a number from 0 on.")
    chosen = games.load(_find(game, games))
    if goal is not None:
        chosen = tell(chosen, goal)
    if student.pack is not None:
        read_pack(student.pack)
    agent = load_agent(replace(student, world=games.world), _overlay(student.pack, learn, overlay))
    page = _Page(sys.stdout.isatty(), watch)
    episode = agent.play(
        chosen, games.split, on_start=page.on_start, on_step=page.on_step, on_second_look=page.on_recall
    )
    page.end(
        f"{'won' if episode.trajectory.won else 'lost'}",
        f"in {len(episode.trajectory.steps)} steps, {episode.seconds:.1f} s, "
        f"{episode.prefilled + episode.decoded} tokens through the student ({student.protocol})",
    )


def _overlay(pack: Path | None, learn: bool, path: Path | None) -> Overlay | None:
    """What --learn and --overlay ask for."""
    if not learn:
        if path is not None:
            raise click.UsageError("--overlay: is read and written with --learn: give it too.")
        return None
    if pack is None:
        raise click.UsageError("--learn: what is learned is kept beside a pack: give --pack too.")
    return open_overlay(pack, path)


def _find(game: str, games: GameChoice) -> Path:
    """The game file --game names."""
    if not re.fullmatch("[0-9]{1,9}", game):
        return Path(game)
    files = games.files()
    number = int(game)
    if not 1 <= number <= len(files):
        raise GameError(f"--game {number}: {games.split} has {len(files)} games: give a number from 1 to {len(files)}")
    return files[number - 1]


class _Page:
    """An episode as text: shown step by step while it is played, or all at once after it."""

    def __init__(self, colours: bool, watch: bool) -> None:
        self._bold, self._dim, self._plain = ("\033[1m", "\033[2m", "\033[0m") if colours else ("", "", "")
        self._watch = watch
        self._lines: list[str] = []
        self._steps = 0

    def on_start(self, intro: str, memories: Sequence[Memory]) -> None:
        self._show(intro)
        self.on_recall(memories)

    def on_recall(self, memories: Sequence[Memory]) -> None:
        for memory in memories:
            self._show(f"{self._dim}memory: {memory.text()}{self._plain}")

    def on_step(self, command: str, observation: Observation, choice: Choice | None) -> None:
        self._steps += 1
        self._show(f"{self._dim}{self._steps:3d}{self._plain} {self._bold}> {command}{self._plain}")
        self._show(f"    {observation.text}")

    def end(self, outcome: str, cost: str) -> None:
        self._show(f"{self._bold}{outcome}{self._plain} {cost}")
        if not self._watch:
            print("\n".join(self._lines))

    def _show(self, text: str) -> None:
        if self._watch:
            print(text, flush=True)
        else:
            self._lines.append(text)
