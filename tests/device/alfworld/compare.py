"""Both engines side by side on one game, step by step: the random walk they are compared on.

Run as a program for a sweep: `python tests/device/alfworld/compare.py GAMES_FOLDER COUNT STEPS SEED [0.3]`, the last to
give the games the rules of alfworld 0.3.5 first.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from old_rules import as_old

from duomem.core.parallel import map_processes
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import GAME_FILE
from duomem.device.world.env import Observation
from duomem.train.games.official_env import OfficialEnv

# How often a verb is drawn, where it applies, once if not named here. Knives are taken for preference, since
# slicing needs one held.
_WEIGHTS = {
    "go": 5,
    "take": 4,
    "move": 4,
    "put": 4,
    "open": 3,
    "close": 2,
    "examine": 2,
    "use": 6,
    "slice": 6,
    "clean": 6,
    "heat": 6,
    "cool": 6,
}
_INVALID = ("", "Look", "go to", "go to nowhere 1", "take all", "open", "  look  ", "inventory.", "xyzzy", "help")

_SHAPES = (
    "move {} to {}",
    "put {} in/on {}",
    "take {} from {}",
    "open {}",
    "go to {}",
    "examine {}",
    "clean {} with {}",
)


@dataclass(frozen=True)
class _Comparer:
    """Makes a worker with one official engine: starting it anew leaks native memory."""

    random_steps: int
    seed: int

    def __call__(self) -> Callable[[Path], tuple[Counter[str], list[str]]]:
        official = OfficialEnv()
        return lambda path: compare(path, official, self.random_steps, self.seed)


def compare(path: Path, official: OfficialEnv, random_steps: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Play the stored walkthrough and, from there on, `random_steps` drawn commands in both engines.

    Returns how often each verb was played and the differences found, one line each.
    """
    game, ours = load_game(path, dialect=None), AlfworldEnv()
    rng = random.Random(f"{seed} {path.parent.parent.name} {path.parent.name}")
    mine, theirs = ours.reset(game), official.reset(game)
    differences = _differences(path, "reset", mine, theirs)
    verbs: Counter[str] = Counter()
    for index in range(len(game.walkthrough) + random_steps):
        if index < len(game.walkthrough):
            command = game.walkthrough[index]
        else:
            if index == len(game.walkthrough) and not theirs.won:
                differences.append(f"{path}: the walkthrough does not win")
            command = _draw(rng, theirs.admissible, game)
        mine, theirs = ours.step(command), official.step(command)
        verbs[command.split()[0] if command.split() else ""] += 1
        differences += _differences(path, command, mine, theirs)
    return verbs, differences


def _draw(rng: random.Random, admissible: tuple[str, ...], game: Game) -> str:
    """Most often one that applies; sometimes nonsense, and sometimes one of somewhere else or of the other dialect."""
    kind = rng.random()
    if kind < 0.05:
        return rng.choice(_INVALID)
    if kind < 0.1:
        things = rng.sample(sorted(game.names.values()), 2)
        return rng.choice(_SHAPES).format(*things)
    verbs = sorted({command.split()[0] for command in admissible})
    verb = rng.choices(verbs, [_WEIGHTS.get(verb, 1) for verb in verbs])[0]
    commands = [command for command in admissible if command.split()[0] == verb]
    knives = [command for command in commands if verb == "take" and "knife" in command]
    return rng.choice(knives if knives and rng.random() < 0.5 else commands)


def _differences(path: Path, command: str, mine: Observation, theirs: Observation) -> list[str]:
    return [
        f"{path}: after {command!r}: {field.name}: ours {getattr(mine, field.name)!r}, "
        f"official {getattr(theirs, field.name)!r}"
        for field in fields(Observation)
        if getattr(mine, field.name) != getattr(theirs, field.name)
    ]


def compare_all(
    paths: list[Path], random_steps: int, seed: int = 0, processes: int = 2
) -> tuple[Counter[str], list[str]]:
    """compare over many games; the sums of both results."""
    verbs: Counter[str] = Counter()
    differences: list[str] = []
    for some_verbs, some in map_processes(_Comparer(random_steps, seed), paths, processes):
        verbs += some_verbs
        differences += some
    return verbs, differences


def main() -> None:
    folder, count, steps, seed = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    paths = sorted(folder.rglob(GAME_FILE))
    chosen = random.Random(seed).sample(paths, min(count, len(paths)))
    begin = time.time()
    with tempfile.TemporaryDirectory() as made:
        if sys.argv[5:] == ["0.3"]:
            chosen = [as_old(path, Path(made)) for path in chosen]
        verbs, differences = compare_all(chosen, steps, seed, processes=1)
    print(*differences, sep="\n")
    print(
        f"{len(chosen)} games, {sum(verbs.values())} steps, {len(differences)} differences, "
        f"{time.time() - begin:.0f} s, {dict(verbs.most_common())}"
    )


if __name__ == "__main__":
    main()
