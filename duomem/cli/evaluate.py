"""`duomem eval`: play a split, and print success by task type.

Success always comes with its protocol, n and a 95 % Wilson interval.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.options import GameChoice, cores_unless, games_options, jobs_option, json_option, student_options
from duomem.cli.text import score_table
from duomem.cli.values import OutputFile

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import EvalConfig

EPISODES = Path("runs/eval")


@click.command("eval", short_help="Play a split and print success by task type.")
@student_options
@games_options("valid_seen")
@jobs_option
@click.option(
    "--out",
    type=OutputFile(),
    metavar="FILE",
    show_default=f"one in {EPISODES}, named by its inputs",
    help="Episode file to write (.jsonl).",
)
@json_option
def evaluate(student: EvalConfig, games: GameChoice, jobs: int | None, out: Path | None, as_json: bool) -> None:
    """Play a split with the compiled student in BUNDLE, and print success by task type.

    An interrupted run goes on where it stopped. What was played is not played again.
    """
    from duomem.device.agent.evaluate import episode_file, summarize
    from duomem.device.agent.evaluate import evaluate as play_games

    student = replace(student, goals=games.goals)
    chosen = games.files()
    file = out or episode_file(EPISODES, student, chosen, games.split)
    scores = summarize(play_games(student, chosen, games.split, file, cores_unless(jobs)))
    if as_json:
        print(
            json.dumps(
                {
                    "condition": student.record(),
                    "split": games.split,
                    "goals": str(student.goals),
                    "episodes": str(file),
                    "scores": {k: s.to_json() for k, s in scores.items()},
                }
            )
        )
        return
    memories = f"at most {student.play.k} memories of {student.pack}" if student.pack else "no memory"
    print(
        f"{student.bundle} on {len(chosen)} {games.split} games, {student.goals} goals, {student.protocol}, "
        f"{memories}, {student.play.max_steps} steps"
    )
    print(score_table(scores))
    print(f"episodes: {file}")
