"""Record the steps the parity gate compares action choices on: `python scripts/record_parity_steps.py`.

Games come from duomem's own generator, train scenes only, and the searching expert plays them: nothing of
the official games, and no scene of valid_unseen, is in the file. The same bytes on every run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from duomem.compile.gate.steps import STEPS_FILE
from duomem.core.files import write_bytes
from duomem.core.trajectory import TRAIN_SPLIT, Trajectory
from duomem.device.agent.prompt import action, head
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.alfworld.goal import TASK_TYPES
from duomem.device.alfworld.world import ALFWORLD
from duomem.train.games.generate import generate
from duomem.train.teachers.priors import combine, count_places
from duomem.train.teachers.teach import play_expert

SEED = 20261122
GAMES = 240
STEPS = 200
_LONGEST = 12  # steps of an episode
_OUT = STEPS_FILE


def record() -> list[Trajectory]:
    """Won episodes of STEPS steps together, task types taking turns; the last one is cut short.

    Every compile runs them twice, so they are taken, in the order of the games, from those whose text a step
    is below their task type's median.
    """
    with tempfile.TemporaryDirectory() as folder:
        for _ in generate(Path(folder), SEED, {"train": GAMES, "valid_seen": 0, "valid_unseen": 0}):
            pass
        files = sorted(find_games(Path(folder), TRAIN_SPLIT), key=lambda path: path.parent.name)
        priors = combine(map(count_places, files))
        played = [play_expert(load_game(file), priors, TRAIN_SPLIT, _LONGEST) for file in files]
    found: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in played:
        if trajectory.won and all(step.action in step.admissible for step in trajectory.steps):
            found[trajectory.task_type].append(trajectory)
    for task_type, episodes in found.items():
        median = statistics.median(map(_text_a_step, episodes))
        found[task_type] = [episode for episode in episodes if _text_a_step(episode) < median]
    chosen: list[Trajectory] = []
    left = STEPS
    while left:
        episode = found[TASK_TYPES[len(chosen) % len(TASK_TYPES)]].pop(0)
        chosen.append(episode if len(episode.steps) <= left else _cut(episode, left))
        left -= len(chosen[-1].steps)
    return chosen


def _text_a_step(episode: Trajectory) -> float:
    """Characters of the prompt for each action."""
    text = head(episode.intro) + "".join(
        f"{action(command)}{ALFWORLD.shorten(after)}\n>" for command, after in episode.turns()
    )
    return len(text) / len(episode.steps)


def _cut(episode: Trajectory, n: int) -> Trajectory:
    return dataclasses.replace(episode, steps=episode.steps[:n], last=episode.steps[n].observation, won=False)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=_OUT, metavar="FILE", help="(%(default)s)")
    out = parser.parse_args().out
    episodes = record()
    write_bytes(out, "".join(json.dumps(episode.to_json()) + "\n" for episode in episodes).encode())
    print(f"{out}: {len(episodes)} episodes, {sum(len(e.steps) for e in episodes)} steps")


if __name__ == "__main__":
    main()
