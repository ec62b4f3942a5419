"""Options that several verbs share, and the values behind them.

Checked here, so that a wrong flag is one line before anything is loaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import EvalConfig, PlayConfig


def count(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return value


def add_games(parser: argparse.ArgumentParser, split: str) -> None:
    """--games and --split."""
    parser.add_argument(
        "--games", type=Path, metavar="DIR", help="folder of games (default: $ALFWORLD_DATA, else runs/games)"
    )
    parser.add_argument(
        "--split",
        default=split,
        choices=("train", "valid_seen", "valid_unseen"),
        help=f"which games (default: {split})",
    )


def add_sample(parser: argparse.ArgumentParser) -> None:
    """--task-type, --scene and --limit: the first N games of a fixed shuffle of them."""
    parser.add_argument(
        "--task-type",
        action="append",
        metavar="NAME",
        dest="task_types",
        help="only games of this task type; again for more (default: all)",
    )
    parser.add_argument(
        "--scene",
        action="append",
        metavar="N",
        dest="scenes",
        help="only games of this floor plan, the number its folder ends in; again for more",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="only N games, a fixed sample (default: all)")


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """--jobs."""
    parser.add_argument("--jobs", type=count, metavar="N", help="processes (default: one a core)")


def add_student(parser: argparse.ArgumentParser) -> None:
    """The student, its memories and how it plays."""
    parser.add_argument("bundle", type=Path, help="compiled student, a folder made by `duomem compile`")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="memory pack to play with (default: no memories)")
    parser.add_argument(
        "--protocol",
        default="constrained",
        choices=("constrained", "free"),
        help="constrained: likeliest admissible command; free: the student writes it (default: constrained)",
    )
    add_play(parser)


def config(args: argparse.Namespace) -> EvalConfig:
    """What add_student's options name."""
    from duomem.device.agent.evaluate import EvalConfig

    return EvalConfig(args.bundle, args.pack, args.protocol, play(args))


def add_play(parser: argparse.ArgumentParser) -> None:
    """--k, --context, --device, --max-steps and --no-action-filter."""
    parser.add_argument("--k", type=count, default=1, help="memories shown (default: 1)")
    parser.add_argument(
        "--context",
        type=count,
        metavar="TOKENS",
        help="most tokens an episode may take: less needs less memory (default: the bundle's)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "vulkan", "cuda", "metal"),
        help="what the student runs on (default: auto, the first that is here and computes right)",
    )
    parser.add_argument("--max-steps", type=count, default=50, help="steps an episode (default: 50)")
    parser.add_argument(
        "--no-action-filter",
        action="store_false",
        dest="action_filter",
        help="let the student repeat what brought nothing new and name things it never saw "
        "(default: its next best command instead)",
    )


def play(args: argparse.Namespace) -> PlayConfig:
    """What add_play's options name."""
    from duomem.device.agent.evaluate import PlayConfig

    return PlayConfig(args.k, args.max_steps, args.context, args.device, args.action_filter)


def select_games(args: argparse.Namespace) -> list[Path]:
    """The game files that --games, --split, --task-type, --scene and --limit name. Raises UserError."""
    from duomem.core.errors import UserError
    from duomem.core.files import digest_of
    from duomem.device.alfworld.game_files import describe_path, find_games, resolve_root
    from duomem.device.alfworld.goal import TASK_TYPES

    found = find_games(resolve_root(args.games), args.split)
    task_types = getattr(args, "task_types", None)
    if task_types:
        if unknown := sorted(set(task_types) - set(TASK_TYPES)):
            raise UserError(f"--task-type {unknown[0]}: no such task type: known are {', '.join(TASK_TYPES)}")
        found = [game for game in found if describe_path(game)[0] in task_types]
    scenes = getattr(args, "scenes", None)
    if scenes:
        if unknown := sorted(set(scenes) - {describe_path(game)[1] for game in found}):
            raise UserError(
                f"--scene {unknown[0]}: no {args.split} game of these is in this floor plan: give the "
                "number a game's folder ends in"
            )
        found = [game for game in found if describe_path(game)[1] in scenes]
    limit = getattr(args, "limit", None)
    if limit is None or limit >= len(found):
        return found
    shuffled = sorted(found, key=lambda f: digest_of(f"{f.parent.parent.name}/{f.parent.name}"))
    return sorted(shuffled[:limit])


def jobs(args: argparse.Namespace) -> int:
    """Processes to use."""
    from duomem.core.cpu import usable_cores

    return args.jobs or usable_cores()
