"""`duomem baseline`: a split played without a model, for the rows that a student's figure has to be held against.

Runs on the device: no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.evaluate import evaluate_and_print, out_option
from duomem.cli.game_options import GameChoice, games_options
from duomem.cli.options import PACK, Command, CommandGroup, jobs_option, json_option
from duomem.cli.values import COUNT
from duomem.memory_packs.retriever import MAX_MEMORIES

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import PlayerConfig


def _rules(command: Command) -> Command:
    """The options that both have."""
    options: list[Callable[[Command], Command]] = [
        click.option("--max-steps", type=COUNT, default=50, metavar="N", help="Most steps of an episode."),
        click.option(
            "--action-filter/--no-action-filter",
            default=False,
            help="Whether commands that changed nothing, and things not seen, are withheld.",
        ),
        games_options("valid_seen"),
        jobs_option,
        out_option,
        json_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=CommandGroup, short_help="Play a split without a model.")
def baseline() -> None:
    """Play a split without a model, and print success by task type.

    The episode files are those of `duomem eval`: `duomem report` and `duomem compare --row` read them.
    """


@baseline.command("random")
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of the draws.")
@_rules
def random_command(
    seed: int, max_steps: int, action_filter: bool, games: GameChoice, jobs: int | None, out: Path | None, as_json: bool
) -> None:
    """Play admissible commands drawn at random, each equally likely."""
    from duomem.device.agent.baseline_player import RandomConfig

    config = RandomConfig(seed, max_steps, action_filter, games.goals, games.world)
    _play(config, "random", action_filter, games, max_steps, jobs, out, as_json)


@baseline.command("matcher")
@click.option("--pack", type=PACK, required=True, metavar="FILE", help="Memory pack to follow.")
@click.option("--k", type=COUNT, default=MAX_MEMORIES, metavar="N", help="Most memories followed, one after the other.")
@_rules
def matcher_command(
    pack: Path,
    k: int,
    max_steps: int,
    action_filter: bool,
    games: GameChoice,
    jobs: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Follow the steps of the memories found for each goal, by comparing strings."""
    from duomem.device.agent.baseline_player import MatcherConfig

    config = MatcherConfig(pack, k, max_steps, action_filter, games.goals, games.world)
    _play(config, f"matcher, at most {k} memories of {pack}", action_filter, games, max_steps, jobs, out, as_json)


def _play(
    config: PlayerConfig,
    name: str,
    action_filter: bool,
    games: GameChoice,
    max_steps: int,
    jobs: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    rules = f"{'an' if action_filter else 'no'} action filter, {max_steps} steps"
    evaluate_and_print(config, name, rules, games, jobs, out, as_json)
