"""The official engine, alfworld 0.4.2 on TextWorld, behind the Env interface: the reference for AlfworldEnv.

Host only (x86-64, the `official` extra) and slow: about 1.5 s to start a game, 60 ms a step.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duomem.core.episode_words import TEMPLATE
from duomem.core.errors import GameError
from duomem.core.files import read_json
from duomem.core.reading import digest_of
from duomem.device.alfworld.game import Game
from duomem.device.world.env import Observation

_MARKUP = re.compile(r'["#{}\[\]|\\;<>]')
"""What means something to TextWorld's grammar, or ends a sentence in it."""


class OfficialEnv:
    """Implements env.Env. It plays the file at `game.path`, so that file must still be there; of a game that is told in
    other words a copy that holds them, as alfworld-generate writes them for `goal_desc_human_anns_prob`.

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
        self._game: Game | None = None
        self._copies = tempfile.TemporaryDirectory()
        self._commands: list[str] = []
        self._facts: list[str] = []

    def reset(self, game: Game) -> Observation:
        """Start `game`; starting the one already loaded again skips half of the work."""
        with _contained():
            if self._env is None:
                infos = self._textworld.EnvInfos(won=True, admissible_commands=True)
                self._env = self._textworld.start(str(self._file(game)), infos, wrappers=[self._demangler()])
            elif self._game is None or (self._game.path, self._game.task) != (game.path, game.task):
                self._env.load(str(self._file(game)))
            self._game, self._commands = game, []
            return self._observe(self._env.reset())

    def step(self, command: str) -> Observation:
        """Play one command; an unknown or inapplicable one gives "Nothing happens."."""
        self._commands.append(command)
        state, _score, _done = self._env.step(command)
        return self._observe(state)

    def _file(self, game: Game) -> Path:
        """The file to load: the game's own, or a copy told in other words. Raises GameError for words that the game's
        grammar cannot hold.
        """
        if game.goal_source == TEMPLATE:
            return game.path
        if _MARKUP.search(game.task):
            raise GameError(
                f"{game.path}: the official engine cannot tell {game.task!r}: its grammar reads markup in it"
            )
        fields = read_json(game.path, "game")
        mark = "Your task is to: "
        fields["grammar"] = fields["grammar"].replace(mark + game.template, mark + game.task)
        copy = Path(self._copies.name) / f"{digest_of([game.digest, game.task])[:16]}.tw-pddl"
        copy.write_text(json.dumps(fields))
        return copy

    def clone(self) -> OfficialEnv:
        """Another engine that has played the same commands: the native state cannot be copied, so this costs a start
        and every step so far.
        """
        if self._game is None:
            raise ValueError("reset comes before clone")
        twin = OfficialEnv()
        twin.reset(self._game)
        for command in self._commands:
            twin.step(command)
        return twin

    @property
    def state_id(self) -> str:
        """32 hex digits: a digest of the game and of the facts true now. Not AlfworldEnv's."""
        return digest_of([self._game.digest if self._game else None, self._facts])[:32]

    def _observe(self, state: Any) -> Observation:
        """The engine's `done` is `won` (it never loses), but it leaves it out at a reset."""
        won = bool(state["won"])
        self._facts = sorted(map(str, state["_facts"]))
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
