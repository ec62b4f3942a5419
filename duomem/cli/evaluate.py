"""`duomem eval`: play a split, and print success by task type.

Success always comes with its protocol, n and a 95 % Wilson interval.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.game_options import GameChoice, games_options
from duomem.cli.options import TRAJECTORIES, cores_unless, jobs_option, json_option, ray_option, student_options
from duomem.cli.text import score_table
from duomem.cli.values import OutputFile

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import EvalConfig, PlayerConfig

EPISODES = Path("runs/eval")

out_option = click.option(
    "--out",
    type=OutputFile(),
    metavar="FILE",
    show_default=f"one in {EPISODES}, named by its inputs",
    help="Episode file to write (.jsonl).",
)


@click.command("eval", short_help="Play a split and print success by task type.")
@student_options
@click.option(
    "--prompt",
    type=click.Choice(("student", "chat")),
    default="student",
    help="student: as the students of this project are trained. chat: as one asks an instruct model, for a bare one.",
)
@click.option(
    "--examples",
    type=TRAJECTORIES,
    metavar="FILE",
    help="With --prompt chat: train trajectories, of which two short games are shown as worked examples.",
)
@games_options("valid_seen")
@jobs_option
@ray_option
@out_option
@json_option
def evaluate(
    student: EvalConfig,
    prompt: str,
    examples: Path | None,
    games: GameChoice,
    jobs: int | None,
    ray: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Play a split with the compiled student in BUNDLE, and print success by task type.

    An interrupted run goes on where it stopped. What was played is not played again.
    """
    if (prompt == "chat") != (examples is not None):
        raise click.UsageError("--prompt chat and --examples FILE go together: give both or neither.")
    if examples and student.protocol != "constrained":
        raise click.UsageError("--prompt chat: its commands are chosen among the admissible: leave out --protocol.")
    student = replace(student, goals=games.goals, chat_examples=examples, world=games.world)
    memories = f"at most {student.play.k} memories of {student.pack}" if student.pack else "no memory"
    asked = ", asked as a chat model" if examples else ""
    rules = f"{student.protocol}{asked}, {memories}, {student.play.max_steps} steps"
    evaluate_and_print(student, str(student.bundle), rules, games, jobs, out, as_json, ray)


def evaluate_and_print(
    config: PlayerConfig,
    name: str,
    rules: str,
    games: GameChoice,
    jobs: int | None,
    out: Path | None,
    as_json: bool,
    ray: str | None = None,
) -> None:
    """Play `games` as `config` says, and print the scores. name, rules: who plays and how, for people; the rest as
    given by --jobs, --out, --json and --ray.
    """
    from duomem.device.agent.evaluate import episode_file, summarize
    from duomem.device.agent.evaluate import evaluate as play_games

    chosen = games.files()
    file = out or episode_file(EPISODES, config, chosen, games.split)
    scores = summarize(play_games(config, chosen, games.split, file, cores_unless(jobs, ray)))
    if as_json:
        print(
            json.dumps(
                {
                    "condition": config.record(),
                    "split": games.split,
                    "goals": str(config.goals),
                    "episodes": str(file),
                    "scores": {k: s.to_json() for k, s in scores.items()},
                }
            )
        )
        return
    print(f"{name} on {len(chosen)} {games.split} games, {config.goals} goals, {rules}")
    print(score_table(scores))
    print(f"episodes: {file}")
