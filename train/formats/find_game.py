"""Finding the game of a foreign episode: by a path or digest that its file names, else by its room and goal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from duomem.core.errors import TrajectoryError
from duomem.core.files import sha256_input
from duomem.core.progress import progress
from duomem.core.scene import receptacles
from duomem.core.told import Told
from duomem.core.trajectory import Trajectory
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.train.formats.replay import Differs, goal_of, people, replay, same_sentence


class GameFinder:
    """Replays foreign episodes in `games`, files of one split."""

    def __init__(self, games: Sequence[Path], split: str, player: str) -> None:
        """player: who the trajectories say played."""
        self._games = games
        self._split = split
        self._player = player

    def replay(self, told: Told, where: str) -> Trajectory:
        """The episode as its game plays it. Raises TrajectoryError naming `where` if there is no such game, or the game
        says something else than the file.
        """
        faults: list[Differs] = []
        for game in self._candidates(told):
            try:
                return replay(told, game, self._split, self._player)
            except Differs as e:
                faults.append(e)
        if not faults:
            raise TrajectoryError(
                f"{where}: no {self._split} game of these has its name, nor its room and goal: give the --games and "
                "--split that were played"
            )
        nearest = max(faults, key=lambda fault: fault.after)
        others = f" (others of its room and goal differ too: {len(faults) - 1})" if len(faults) > 1 else ""
        raise TrajectoryError(f"{where}: {nearest}{others}: not an episode of this game")

    def _candidates(self, told: Told) -> list[Game]:
        for name in told.names:
            parts = name.replace("\\", "/").split("/")
            found = [
                path for part in parts for path in self._by_trial.get(part, ()) if path.parent.parent.name in parts
            ]
            if found := found or [path for part in parts for path in self._by_trial.get(part, ())]:
                return [load_game(found[0])]
            if digest := next((part for part in parts if len(part) == 64 and part in self._by_digest), None):
                return [load_game(self._by_digest[digest])]
        goal = goal_of(told)
        of_room = [load_game(path) for path in self._by_room.get(_room(told.observations[0]), ())]
        return [
            game
            for game in of_room
            if same_sentence(goal, game.template) or any(same_sentence(goal, said) for said in people(game))
        ]

    @cached_property
    def _by_trial(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for path in self._games:
            found[path.parent.name].append(path)
        return dict(found)

    @cached_property
    def _by_digest(self) -> dict[str, Path]:
        return {sha256_input(path, "game"): path for path in self._games}

    @cached_property
    def _by_room(self) -> dict[tuple[str, ...], list[Path]]:
        found: dict[tuple[str, ...], list[Path]] = defaultdict(list)
        for path in progress(self._games, "rooms", unit="games"):
            found[_room(AlfworldEnv().reset(load_game(path)).text)].append(path)
        return dict(found)


def _room(intro: str) -> tuple[str, ...]:
    return tuple(sorted(receptacles(intro)))
