"""`duomem play`: one game, played by a compiled student, readable in a terminal.

Runs on the device: no torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.game_options import GameChoice, game_option, games_options, goal_option, one_game
from duomem.cli.options import student_options
from duomem.cli.pack_overlay import open_overlay, overlay_option

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import EvalConfig
    from duomem.memory_packs.overlay import Overlay


@click.command(short_help="Play one game.")
@student_options
@games_options("valid_seen", sample=False)
@game_option
@goal_option
@click.option("--watch", is_flag=True, help="Show each step while it is played: as `duomem watch` does.")
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
    from duomem.device.watch.view import open_view
    from duomem.memory_packs.pack import read_pack

    chosen = one_game(games, game, goal)
    if student.pack is not None:
        read_pack(student.pack)
    agent = load_agent(replace(student, world=games.world), _overlay(student.pack, learn, overlay))
    with open_view(str(student.bundle.name), student.play.max_steps, watch) as view:
        episode = agent.play(
            chosen,
            games.split,
            on_start=view.on_start,
            on_step=view.on_step,
            on_second_look=view.on_second_look,
        )
        view.end(episode, f"through the student ({student.protocol})")


def _overlay(pack: Path | None, learn: bool, path: Path | None) -> Overlay | None:
    """What --learn and --overlay ask for."""
    if not learn:
        if path is not None:
            raise click.UsageError("--overlay: is read and written with --learn: give it too.")
        return None
    if pack is None:
        raise click.UsageError("--learn: what is learned is kept beside a pack: give --pack too.")
    return open_overlay(pack, path)
