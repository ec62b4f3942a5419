"""Trajectory files to the formats of others and back: `duomem trajectories export` and `import`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import TrajectoryError
from duomem.core.files import atomic_open
from duomem.core.told import Readings, trajectory_of
from duomem.core.trajectory import Trajectory, read_train_trajectories, read_trajectories
from duomem.train.formats import atif, chat, eto, hf
from duomem.train.formats.find_game import GameFinder

Tell = Callable[[str], None]
"""Called with a line for each episode that was left out."""


@dataclass(frozen=True)
class Format:
    """write: writes episodes and says how many; read: reads them with where each stands. trains: whether models learn
    from such files, which then hold train episodes alone.
    """

    write: Callable[[Iterable[Trajectory], Path], int]
    read: Callable[[Path], Readings]
    trains: bool = True


FORMATS = {
    "eto": Format(eto.write, eto.read),
    "chat": Format(chat.write, chat.read),
    "atif": Format(atif.write, atif.read, trains=False),
    "hf": Format(hf.write, hf.read),
}


@dataclass(frozen=True)
class Imported:
    """Numbers of episodes. taken: as duomem wrote them; replayed: played again; won: of both; refused: left out."""

    taken: int
    replayed: int
    won: int
    refused: int


def export_trajectories(trajectories: Path, out: Path, name: str) -> int:
    """Write a trajectory file in a format of FORMATS to `out`, a file or a folder; returns the number of episodes.

    Raises TrajectoryError for a damaged file, or for episodes of other splits than train where models learn from it.
    """
    form = FORMATS[name]
    read = read_train_trajectories if form.trains else read_trajectories
    return form.write(read(trajectories), out)


def import_trajectories(
    path: Path, out: Path, name: str, finder: Callable[[], GameFinder], tell: Tell = lambda line: None
) -> Imported:
    """Write the episodes of a file or folder in a format of FORMATS to the trajectory file `out`.

    Episodes that duomem wrote come back as they were. Others are played again, see GameFinder. What is no episode, or
    one whose game is not found or says something else, is left out and told. finder: makes one when the first comes.

    Raises FileError for a damaged file, TrajectoryError if nothing can be taken.
    """
    taken = replayed = won = refused = 0
    games: GameFinder | None = None
    with atomic_open(out) as f:
        for where, read in FORMATS[name].read(path):
            try:
                told = read()
                if told.facts is None:
                    games = games or finder()
                played = trajectory_of(told, where) if games is None or told.facts else games.replay(told, where)
            except TrajectoryError as e:
                refused += 1
                tell(str(e))
                continue
            taken += told.facts is not None
            replayed += told.facts is None
            won += played.won
            f.write(json.dumps(played.to_json(), ensure_ascii=False).encode() + b"\n")
        if not taken + replayed:
            raise TrajectoryError(f"{path}: none of its {refused} episodes can be taken: nothing is written")
    return Imported(taken, replayed, won, refused)
