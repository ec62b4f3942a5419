"""Tokens that an LLM teacher would read and write in an episode: `python benchmarks/teacher_tokens.py --tokenizer DIR`.

The expert without priors plays train games in the place of the model. Before its commands stands a thought of the mean
length of those that a style shows. Counted as an endpoint bills, and as a server with a prefix cache computes.
The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from duomem.core.errors import UserError
from duomem.core.trajectory import Trajectory
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games, resolve_root
from duomem.train.teachers.llm.style import STYLES, Style, find_style
from duomem.train.teachers.teach import play_expert

MARKS = 5
"""Tokens around a message in the chat templates of Qwen and SmolLM2: two marks, the role, two ends of line."""


def episode(played: Trajectory, style: Style, listed: bool, count: Callable[[str], int]) -> dict[str, int]:
    """Answers, prompt tokens as billed, those new to a prefix cache that knows the opening, and those written."""
    thoughts = [count(turn.thought) for example in style.examples for turn in example.turns]
    thought = round(statistics.mean(thoughts)) if "{thought}" in style.answer else 0
    opening = sum(count(message.content) + MARKS for message in style.opening())
    length, billed, written = opening, 0, 0
    for number, step in enumerate(played.steps):
        length += count(style.seen(step.observation, step.admissible if listed else None, number == 0).content) + MARKS
        billed += length
        answer = count(style.answer.replace("{thought}", "").replace("{action}", step.action)) + thought
        written += answer + 1
        length += answer + MARKS
    return {"answers": len(played.steps), "billed": billed, "new": length - opening - written, "written": written}


def main() -> None:
    """Print a line for each style, with and without the admissible commands, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="folder with a tokenizer.json")
    parser.add_argument("--games", type=Path, metavar="DIR", help="folder of games ($ALFWORLD_DATA or runs/games)")
    parser.add_argument("--count", type=int, default=200, help="train games (%(default)s)")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    paths = find_games(resolve_root(args.games), "train")
    chosen = random.Random(0).sample(paths, min(args.count, len(paths)))
    played = [play_expert(load_game(path), {}, "train", 50) for path in chosen]
    print(f"{len(played)} train games, {sum(t.won for t in played)} won; means an episode")
    rows = {}
    for name in STYLES:
        for listed in (False, True):
            counts = [
                episode(t, find_style(name), listed, lambda text: len(tokenizer.encode(text).ids)) for t in played
            ]
            means = {key: round(statistics.mean(row[key] for row in counts), 1) for key in counts[0]}
            rows[f"{name}, admissible commands {'listed' if listed else 'not listed'}"] = means
    for row, means in rows.items():
        print(f"{row:40}" + "  ".join(f"{key} {value:,}" for key, value in means.items()))
    print(json.dumps({"benchmark": "teacher_tokens", "games": len(played), **rows}))


if __name__ == "__main__":
    try:
        main()
    except UserError as e:
        raise SystemExit(f"error: {e}") from None
