"""Finding game files: the official data under $ALFWORLD_DATA, a folder given, or games made by the generator.

All three have the layout that alfworld-download makes, ROOT/json_2.1.1/SPLIT/TASK/TRIAL/game.tw-pddl.
"""

from __future__ import annotations

import os
from pathlib import Path

from duomem.core.errors import GameError
from duomem.core.reading import open_regular
from duomem.device.alfworld.goal import TASK_TYPES

SPLITS = ("train", "valid_seen", "valid_unseen")
DATA_FOLDER = "json_2.1.1"
GAME_FILE = "game.tw-pddl"
DEFAULT_ROOT = Path("runs/games")  # where `duomem games generate` writes if not told otherwise

_HOW_TO_GET_GAMES = (
    "get the official data with `pip install alfworld && alfworld-download` and `export ALFWORLD_DATA=` its "
    "folder, or make games with `duomem games generate`"
)


def resolve_root(games: Path | None) -> Path:
    """The folder to play from: `games` if given, else $ALFWORLD_DATA, else DEFAULT_ROOT.

    Raises GameError, saying how to get games, if no split is in it. Never falls through to the next choice.
    """
    variable = os.environ.get("ALFWORLD_DATA")
    if games is not None:
        root, origin = Path(games), "--games"
    elif variable:
        root, origin = Path(variable), "$ALFWORLD_DATA"
    else:
        root, origin = DEFAULT_ROOT, "the default, as neither --games nor $ALFWORLD_DATA is set"
    if not any(split_folder(root, split) for split in SPLITS):
        raise GameError(f"{root}: no games here ({origin}): {_HOW_TO_GET_GAMES}")
    return root


def split_folder(root: Path | str, split: str) -> Path | None:
    """The folder of one split under `root`, or None. Raises GameError for an unknown split."""
    if split not in SPLITS:
        raise GameError(f"{split!r} is not a split: choose one of {', '.join(SPLITS)}")
    for folder in (Path(root) / DATA_FOLDER / split, Path(root) / split):
        if folder.is_dir():
            return folder
    return None


def find_games(root: Path | str, split: str) -> list[Path]:
    """The game files of one split, sorted by path.

    root: folder of games in the layout of alfworld-download. split: "train", "valid_seen" or "valid_unseen".
    As in alfworld, games with movable receptacles or slicing and games marked unsolvable are left out.
    traj_data.json is not needed. An absent split has no games. Raises GameError for an unknown split.
    """
    folder = split_folder(root, split)
    if folder is None:
        return []
    return sorted(
        path
        for path in folder.rglob(GAME_FILE)
        if not is_left_out(path.relative_to(folder)) and not is_unsolvable(path)
    )


def is_left_out(path: Path) -> bool:
    """Whether alfworld leaves out a game of this path: one with movable receptacles or slicing."""
    return "movable" in str(path) or "Sliced" in str(path)


def is_unsolvable(path: Path) -> bool:
    """Whether a game is marked so, near its end, where the writer puts the mark; load_game checks it for certain."""
    try:
        with open_regular(path) as f:
            f.seek(max(0, path.stat().st_size - 8192))
            return b'"solvable": false' in f.read()
    except OSError as e:
        raise GameError(f"{path}: cannot read this game ({e.strerror or e}): check its permissions") from None


def split_of(path: Path) -> str:
    """The split whose folder a game file lies in, as ROOT/SPLIT/TASK/TRIAL/game.tw-pddl names it; "unknown" in
    another layout, without opening the file.
    """
    name = path.parent.parent.parent.name
    return name if name in SPLITS else "unknown"


def describe_path(path: Path) -> tuple[str, str]:
    """(task type, floor plan) as the folder TASK-OBJ-MOVABLE-RECEP-SCENE names them, without opening the
    file; ("unknown", "") for a folder named otherwise.
    """
    parts = path.parent.parent.name.split("-")
    return (parts[0], parts[4]) if len(parts) == 5 and parts[0] in TASK_TYPES else ("unknown", "")
