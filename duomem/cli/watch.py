"""`duomem watch`: one game to look at while it is played, by a compiled student or by a person.

Runs on the device: no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.chat_options import Amount
from duomem.cli.game_options import GameChoice, game_option, games_options, goal_option, one_game
from duomem.cli.options import PACK, check_context, play_options, protocol_option
from duomem.cli.values import BundleFolder, OutputFile

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import PlayConfig


@click.command(short_help="Look at a game while it is played, or play it yourself.")
@click.argument("bundle", type=BundleFolder(), required=False)
@click.option("--pack", type=PACK, metavar="FILE", show_default="no memories", help="Memory pack to play with.")
@protocol_option
@play_options
@games_options("valid_seen", sample=False)
@game_option
@goal_option
@click.option("--human", is_flag=True, help="Play it yourself. BUNDLE is then needed for --hint alone.")
@click.option("--hint", is_flag=True, help="With --human: show what the student would do, and how likely.")
@click.option(
    "--delay",
    type=Amount(0, 60),
    default=0.6,
    metavar="SECONDS",
    help="How long each step stays on a terminal.",
)
@click.option(
    "--out",
    type=OutputFile(),
    metavar="FILE",
    show_default="episodes.jsonl in the folder of a user's data",
    help="Episode file that the episode is appended to.",
)
def watch(
    bundle: Path | None,
    pack: Path | None,
    protocol: str,
    play: PlayConfig,
    games: GameChoice,
    game: str,
    goal: str | None,
    human: bool,
    hint: bool,
    delay: float,
    out: Path | None,
) -> None:
    """Show one game while the compiled student in BUNDLE plays it, and record it.

    A terminal of 80 columns is enough: it shows the room as it was seen, the goal, the memory in use, and how likely
    each command was. Where the output is no terminal, each step is a line. `duomem replay` shows the record again.
    """
    from duomem.device.agent.evaluate import EvalConfig, episode_row, load_agent
    from duomem.device.agent.person import PLAYER, play_person
    from duomem.device.watch.record import append_row, check_record, default_record
    from duomem.device.watch.view import open_view

    if hint and not human:
        raise click.UsageError("--hint: is for a person who plays: give --human too.")
    if bundle is None and (hint or not human):
        raise click.UsageError("Missing argument 'BUNDLE': the student that plays, or gives hints.")
    if bundle is None and pack is not None:
        raise click.UsageError("--pack: a student plays with it: give its BUNDLE too.")
    record = out or default_record()
    check_record(record)
    chosen = one_game(games, game, goal)
    agent = None
    if bundle is not None and (hint or not human):
        check_context(bundle, play.context_length)
        agent = load_agent(EvalConfig(bundle, pack, protocol, play, world=games.world))
    name = PLAYER if human or bundle is None else f"{bundle.name}, {protocol}"
    through = f"through the student ({protocol})" if agent is not None else ""
    with open_view(name, play.max_steps, delay=delay, asks=human) as view:
        callbacks = {"on_start": view.on_start, "on_step": view.on_step, "on_second_look": view.on_second_look}
        if agent is None or human:
            episode = play_person(chosen, view.ask, agent, games.split, play.max_steps, games.world, **callbacks)
        else:
            episode = agent.play(chosen, games.split, **callbacks)
        episode = view.end(episode, through)
    append_row(record, episode_row(episode))
    print(f"recorded: {record}")
