"""The official engine, alfworld 0.4.2 on TextWorld, behind the Env interface: the reference for AlfworldEnv.

Host only (x86-64, the `official` extra) and slow: about 1.5 s to start a game, 60 ms a step.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duomem.core.errors import GameError
from duomem.device.alfworld.env import Observation
from duomem.device.alfworld.game import Game


class OfficialEnv:
    """Implements env.Env. It plays the file at `game.path`, so that file must still be there.

    Raises GameError at once if alfworld or TextWorld is not installed.
    """

    def __init__(self) -> None:
        with _contained():
            try:
                import textworld
                from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
            except ImportError as e:
                raise GameError(
                    f"the official ALFWorld engine cannot be imported ({e}): pip install "
                    "'duomem[official]' (x86-64 only), or play with duomem's engine"
                ) from None
        self._textworld = textworld
        self._demangler = AlfredDemangler
        self._env: Any = None
        self._loaded: Path | None = None

    def reset(self, game: Game) -> Observation:
        """Start `game`; starting the one already loaded again skips half of the work."""
        with _contained():
            if self._env is None:
                infos = self._textworld.EnvInfos(won=True, admissible_commands=True)
                self._env = self._textworld.start(str(game.path), infos, wrappers=[self._demangler()])
            elif self._loaded != game.path:
                self._env.load(str(game.path))
            self._loaded = game.path
            return _observation(self._env.reset())

    def step(self, command: str) -> Observation:
        """Play one command; an unknown or inapplicable one gives "Nothing happens."."""
        state, _score, _done = self._env.step(command)
        return _observation(state)


def _observation(state: Any) -> Observation:
    """The engine's `done` is `won` (it never loses), but it leaves it out at a reset."""
    won = bool(state["won"])
    return Observation(state.feedback.strip(), tuple(sorted(set(state["admissible_commands"]))), won, won)


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Undo what alfworld and fast_downward do to the process: they set $ALFWORLD_DATA (and make that folder,
    hence the current one meanwhile) and sys.argv.
    """
    arguments, data = sys.argv, os.environ.get("ALFWORLD_DATA")
    os.environ.setdefault("ALFWORLD_DATA", os.getcwd())
    try:
        yield
    finally:
        sys.argv = arguments
        if data is None:
            os.environ.pop("ALFWORLD_DATA", None)
