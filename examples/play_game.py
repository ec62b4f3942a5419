"""Play one ALFWorld game with a compiled student, offline.

python examples/play_game.py runs/bundle GAME.tw-pddl --pack runs/expert.dmpack
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duomem import Agent, load_game


def main(bundle: Path, game_file: Path, pack: Path | None, max_steps: int) -> None:
    """Load the student and its memories, play the game, and print what was done."""
    agent = Agent.load(bundle, pack=pack, protocol="constrained", max_steps=max_steps)
    game = load_game(game_file)
    print(f"task: {game.task}")
    episode = agent.play(game)
    for memory in episode.memories:
        print(f"memory: {memory.text()}")
    for number, command in enumerate(episode.commands, 1):
        print(f"{number:3d} > {command}")
    print(f"{'won' if episode.won else 'lost'} in {len(episode.commands)} steps, {episode.seconds:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Play one game with a compiled student.")
    parser.add_argument("bundle", type=Path, help="folder written by compile_bundle")
    parser.add_argument("game", type=Path, help="a game.tw-pddl file")
    parser.add_argument("--pack", type=Path, help="memory pack to play with")
    parser.add_argument("--max-steps", type=int, default=50, help="most steps")
    args = parser.parse_args()
    main(args.bundle, args.game, args.pack, args.max_steps)
