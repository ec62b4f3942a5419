"""`duomem replay`: a recorded episode shown again, step by step.

Runs on the device: no torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from duomem.cli.chat_options import Amount
from duomem.cli.values import COUNT, InputFile


@click.command(short_help="Show a recorded episode again.")
@click.argument("file", type=InputFile("episode file"), required=False)
@click.option("--episode", type=COUNT, metavar="N", show_default="the last one", help="Which of the file's, from 1 on.")
@click.option(
    "--delay",
    type=Amount(0, 60),
    metavar="SECONDS",
    show_default="a key a step",
    help="Go on by itself after so long a step.",
)
def replay(file: Path | None, episode: int | None, delay: float | None) -> None:
    """Show an episode of FILE again: one of `duomem watch` or `duomem eval`, or a teacher's trajectory.

    Without FILE it is the one that `duomem watch` records to. On a terminal, keys go from step to step; elsewhere each
    step is a line.
    """
    from rich.console import Console

    from duomem.core.errors import FileError
    from duomem.device.watch.record import default_record
    from duomem.device.watch.recorded import read_recorded
    from duomem.device.watch.replay import Replay, replay_in_lines, replay_on_screen

    path = file or default_record()
    episodes = list(read_recorded(path))
    if not episodes:
        raise FileError(f"{path}: holds no episode: record one with duomem watch")
    number = episode or len(episodes)
    if number > len(episodes):
        raise FileError(f"--episode {number}: {path} has {len(episodes)}: give a number from 1 to {len(episodes)}")
    console = Console(highlight=False, markup=False, emoji=False)
    terminal = sys.stdout.isatty() and not console.is_dumb_terminal
    if terminal and sys.stdin.isatty():
        replay_on_screen(console, Replay(episodes, number - 1), delay)
    else:
        replay_in_lines(episodes[number - 1], terminal, delay)
