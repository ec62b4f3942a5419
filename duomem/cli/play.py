"""`duomem play`: one game, played by a compiled student, readable in a terminal.

Runs on the device: no torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from duomem.cli.options import add_games, add_student, config, select_games
from duomem.core.errors import UserError

if TYPE_CHECKING:
    from duomem.device.alfworld.env import Observation
    from duomem.memory_packs.memory import Memory


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("play", help="play one game", description=__doc__)
    add_student(parser)
    add_games(parser, "valid_seen")
    parser.add_argument(
        "--game",
        metavar="FILE_OR_NUMBER",
        default="1",
        help="a game.tw-pddl file, or its number in the split (default: 1)",
    )
    parser.add_argument("--watch", action="store_true", help="show each step as it happens")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    from duomem.device.agent.evaluate import load_agent
    from duomem.device.alfworld.game import load_game

    game = load_game(_find(args))
    agent = load_agent(config(args))
    page = _Page(sys.stdout.isatty(), args.watch)
    episode = agent.play(game, args.split, on_start=page.on_start, on_step=page.on_step)
    page.end(
        f"{'won' if episode.trajectory.won else 'lost'}",
        f"in {len(episode.trajectory.steps)} steps, {episode.seconds:.1f} s, "
        f"{episode.prefilled + episode.decoded} tokens through the student ({args.protocol})",
    )


def _find(args: argparse.Namespace) -> Path:
    """The game file --game names."""
    if not args.game.isdecimal():
        return Path(args.game)
    games = select_games(args)
    number = int(args.game)
    if not 1 <= number <= len(games):
        raise UserError(f"--game {number}: {args.split} has {len(games)} games: give a number from 1 to {len(games)}")
    return games[number - 1]


class _Page:
    """An episode as text: shown step by step while it is played, or all at once after it."""

    def __init__(self, colours: bool, watch: bool) -> None:
        self._bold, self._dim, self._plain = ("\033[1m", "\033[2m", "\033[0m") if colours else ("", "", "")
        self._watch = watch
        self._lines: list[str] = []
        self._steps = 0

    def on_start(self, intro: str, memories: Sequence[Memory]) -> None:
        self._show(intro)
        for memory in memories:
            self._show(f"{self._dim}memory: {memory.text()}{self._plain}")

    def on_step(self, command: str, observation: Observation) -> None:
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
