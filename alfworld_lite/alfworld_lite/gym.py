"""Gymnasium: one game (`AlfworldGymEnv`) and many in one process (`AlfworldVectorEnv`). Needs alfworld-lite[gymnasium].

`gymnasium.make("alfworld_lite/AlfWorld-v0", games=FOLDER)`, or `gymnasium.make_vec` for the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from alfworld_lite._engine.annotations import read_annotations, tell
from alfworld_lite._engine.env import Observation
from alfworld_lite._engine.errors import GameError
from alfworld_lite._engine.game import Game
from alfworld_lite._engine.game_files import find_games
from alfworld_lite.single import AlfworldEnv, load_game

try:
    import gymnasium
    import numpy as np
    from gymnasium.spaces import Text
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError as e:
    raise ImportError(f"gymnasium cannot be imported ({e}): pip install 'alfworld-lite[gymnasium]'") from None

ENV_ID = "alfworld_lite/AlfWorld-v0"
_CHARACTERS = frozenset(map(chr, [10, *range(32, 127), *range(160, 0x250), *range(0x2010, 0x2028)]))
_KEPT = 512
"""Loaded games of one env: some 0.3 MB each."""


def register_envs() -> None:
    """Tell Gymnasium of ENV_ID; installing the wheel does."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(
            ENV_ID,
            entry_point="alfworld_lite.gym:AlfworldGymEnv",
            vector_entry_point="alfworld_lite.gym:AlfworldVectorEnv",
        )


def command_space() -> Text:
    """Commands: any line."""
    return Text(500, min_length=0, charset=_CHARACTERS)


def observation_space() -> Text:
    """What the engine says."""
    return Text(20_000, min_length=1, charset=_CHARACTERS)


class Games:
    """What envs draw their games from.

    games: a folder in the layout of alfworld-download, a game file, or a list of game files. split: of a folder.
    human: tell goals in a person's words, drawn from those beside the game. dialect: see load_game.
    """

    def __init__(
        self,
        games: str | Path | Sequence[str | Path],
        split: str = "train",
        human: bool = False,
        dialect: str | None = None,
    ) -> None:
        if isinstance(games, (str, Path)):
            folder = Path(games)
            found: Sequence[str | Path] = find_games(folder, split) if folder.is_dir() else [folder]
        else:
            found = list(games)
        if not found:
            raise GameError(f"{games}: no {split} games here")
        self.paths = [str(path) for path in found]
        self._human = human
        self._load = lru_cache(maxsize=_KEPT)(lambda path: load_game(path, dialect))

    def draw(self, rng: np.random.Generator, chosen: str | Path | None) -> Game:
        """The game of the path `chosen`, or else a random one."""
        game = self._load(str(chosen or self.paths[int(rng.integers(len(self.paths)))]))
        if not self._human:
            return game
        sentences = read_annotations(game.path)
        number = int(rng.integers(len(sentences)))
        return tell(game, sentences[number], f"human:{number}")


class AlfworldGymEnv(gymnasium.Env[str, str]):
    """Text in, text out. A win is worth 1 and ends the episode; after max_steps it is cut off.

    info: admissible_commands (a tuple), won, gamefile. reset's options: {"game": path} plays that one. Other arguments:
    see Games.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        games: str | Path | Sequence[str | Path],
        split: str = "train",
        max_steps: int = 50,
        human: bool = False,
        dialect: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space, self.action_space = observation_space(), command_space()
        self.render_mode, self.max_steps = render_mode, max_steps
        self.env = AlfworldEnv()
        self._games = Games(games, split, human, dialect)
        self._path, self._steps, self._text = "", 0, ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        game = self._games.draw(self.np_random, (options or {}).get("game"))
        self._path, self._steps = str(game.path), 0
        seen = self.env.reset(game)
        self._text = seen.text
        return seen.text, self._info(seen)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        seen = self.env.step(action)
        self._steps += 1
        self._text = f"> {action}\n{seen.text}"
        return seen.text, float(seen.won), seen.won, not seen.won and self._steps >= self.max_steps, self._info(seen)

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._text if self.render_mode == "ansi" else None

    @property
    def state_id(self) -> str:
        """A digest of the game and its state."""
        return self.env.state_id

    def _info(self, seen: Observation) -> dict[str, Any]:
        return {"admissible_commands": seen.admissible, "won": seen.won, "gamefile": self._path}


class AlfworldVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], Any]):
    """num_envs games in this process, all of whose texts come as a tuple. Arguments: see AlfworldGymEnv.

    autoreset_mode: as in Gymnasium 1: the next step of a finished episode starts the next game (its default), the same
    one does, or none does and reset's options {"reset_mask": array} say which to start. Infos are arrays; "_KEY" says
    whose entries count.
    """

    def __init__(
        self,
        num_envs: int,
        games: str | Path | Sequence[str | Path],
        split: str = "train",
        max_steps: int = 50,
        human: bool = False,
        dialect: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        self.num_envs, self.max_steps, self.render_mode = num_envs, max_steps, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": ["ansi"]}
        self.single_observation_space, self.single_action_space = observation_space(), command_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.envs = [AlfworldEnv() for _ in range(num_envs)]
        self._games = Games(games, split, human, dialect)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._paths = [""] * num_envs
        self._steps = [0] * num_envs
        self._over = [False] * num_envs
        self._seen: list[Observation] = [Observation("", (), False, False)] * num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """seed: one for each env, or that of the first, the next having the next. options: {"game": path} or, one for
        each env, {"game": [path, ...]}; {"reset_mask": array}.
        """
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed or [None] * self.num_envs
        mask, game = (options or {}).get("reset_mask"), (options or {}).get("game")
        games = [game] * self.num_envs if game is None or isinstance(game, (str, Path)) else game
        if len(games) != self.num_envs or len(seeds) != self.num_envs:
            raise GameError(f"give one seed and one game for each of the {self.num_envs} envs")
        for i in range(self.num_envs):
            if mask is None or mask[i]:
                if seeds[i] is not None:
                    self._rngs[i] = np.random.default_rng(seeds[i])
                self._start(i, games[i])
        return self._texts(), self._infos()

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One command for every env: (texts, rewards, terminations, truncations, infos), arrays of num_envs."""
        if len(actions) != self.num_envs:
            raise GameError(f"{len(actions)} actions for {self.num_envs} envs: give one each")
        rewards, won, cut = np.zeros(self.num_envs), np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        over, seen, steps = self._over, self._seen, self._steps
        finished: list[int] = []
        for i, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            if over[i]:
                if self.autoreset_mode is not AutoresetMode.NEXT_STEP:
                    raise GameError(f"env {i} is over: reset it with options {{'reset_mask': ...}}")
                self._start(i)
                continue
            seen[i] = now = env.step(action)
            steps[i] += 1
            if now.won or steps[i] >= self.max_steps:
                rewards[i], won[i], cut[i] = now.won, now.won, not now.won
                over[i] = True
                finished.append(i)
        last = self._final(finished) if finished and self.autoreset_mode is AutoresetMode.SAME_STEP else {}
        return self._texts(), rewards, won, cut, {**self._infos(), **last}

    def render(self) -> tuple[str, ...] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._texts() if self.render_mode == "ansi" else None

    @property
    def state_ids(self) -> tuple[str, ...]:
        """Of every env, a digest of its game and state."""
        return tuple(env.state_id for env in self.envs)

    def _start(self, i: int, chosen: str | Path | None = None) -> None:
        game = self._games.draw(self._rngs[i], chosen)
        self._paths[i], self._steps[i], self._over[i] = str(game.path), 0, False
        self._seen[i] = self.envs[i].reset(game)

    def _final(self, finished: list[int]) -> dict[str, Any]:
        """The last words of the envs that ended, which start their next game."""
        before = self._infos()
        mask = np.zeros(self.num_envs, bool)
        mask[finished] = True
        texts = np.full(self.num_envs, None, object)
        for i in finished:
            texts[i] = self._seen[i].text
            self._start(i)
        inner = {key: mask if key[0] == "_" else values for key, values in before.items()}
        return {"final_obs": texts, "_final_obs": mask, "final_info": inner, "_final_info": mask}

    def _texts(self) -> tuple[str, ...]:
        return tuple([seen.text for seen in self._seen])

    def _infos(self) -> dict[str, Any]:
        commands, paths = np.empty(self.num_envs, object), np.empty(self.num_envs, object)
        for i, seen in enumerate(self._seen):
            commands[i] = seen.admissible
        paths[:] = self._paths
        infos = {"admissible_commands": commands, "won": np.array([s.won for s in self._seen]), "gamefile": paths}
        whole = np.ones(self.num_envs, bool)
        return {**infos, **{f"_{key}": whole for key in infos}}
