"""ALFWorld's own batch interface: `AlfredTWEnv(config, train_eval).init_env(batch_size)`, then `reset` and `step`.

The same config and the same seed play the same games in the same order as in alfworld, without TextWorld.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from alfworld_lite._engine.annotations import read_annotations, tell
from alfworld_lite._engine.env import Observation
from alfworld_lite._engine.errors import GameError
from alfworld_lite._engine.game import Game
from alfworld_lite._engine.game_files import GAME_FILE, describe_path, is_left_out, is_unsolvable
from alfworld_lite._engine.goal import TASK_TYPES
from alfworld_lite.order import shuffled_cycle
from alfworld_lite.single import AlfworldEnv, load_game

GAME_KEY = "extra.gamefile"
_KEPT = 512
"""Loaded games of one batch: some 0.3 MB each."""
_DEFAULT_SEED = 1234
_DATA_PATHS = {
    "train": ("data_path", "num_train_games"),
    "eval_in_distribution": ("eval_id_data_path", "num_eval_games"),
    "eval_out_of_distribution": ("eval_ood_data_path", "num_eval_games"),
}
_STEP_LIMITS = {"dqn": "rl", "dagger": "dagger"}
_TASK_TYPES = dict(enumerate(TASK_TYPES, start=1))


class Infos(dict[str, list[Any]]):
    """What alfworld's envs tell beside the observations: a list with one entry a game under each key."""

    def __missing__(self, key: str) -> list[Any]:
        raise GameError(
            f"alfworld-lite gives no {key!r}, only {', '.join(self)}: it has no expert; a game's walkthrough is "
            "load_game(path).walkthrough"
        )


class BatchEnv:
    """Several games at a time. A game that is over, won or out of steps, is not played on: its last turn is told again.

    game_files: paths, which take turns. batch_size: games at a time. max_steps: steps after which a game is over, None
    for no end. human_goals: the share of games whose goal is told in a person's words, read beside the game.
    dialect: "0.4" or "0.3", see load_game; None for each file's own. seed: decides the games' order.
    """

    def __init__(
        self,
        game_files: Sequence[str | Path],
        batch_size: int = 1,
        max_steps: int | None = None,
        human_goals: float = 0.0,
        dialect: str | None = None,
        seed: int = _DEFAULT_SEED,
    ) -> None:
        if batch_size < 1:
            raise GameError(f"batch_size is {batch_size}: give 1 or more")
        if not game_files:
            raise GameError("there are no games to play: give at least one game file")
        self.gamefiles = [str(path) for path in game_files]
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.human_goals = human_goals
        self.envs = [AlfworldEnv() for _ in range(batch_size)]
        self._load = lru_cache(maxsize=_KEPT)(lambda path: load_game(path, dialect))
        self._helps = [""] * batch_size
        self._playing = [""] * batch_size
        self._steps = [0] * batch_size
        self._last: list[Observation] = []
        self.seed(seed)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Start the order of games anew. seed: from 0 to 2**32 - 1."""
        number = random.randrange(1 << 32) if seed is None else seed
        self._next: Iterator[str] = shuffled_cycle(self.gamefiles, number)
        self._rng = random.Random(number)
        return [seed]

    def skip(self, nb_games: int = 1) -> None:
        """Leave out the next `nb_games` games."""
        for _ in range(nb_games):
            next(self._next)

    def reset(self) -> tuple[tuple[str, ...], Infos]:
        """Start the next games: (intros, infos)."""
        return self.play([next(self._next) for _ in range(self.batch_size)])

    def play(self, game_files: Sequence[str | Path]) -> tuple[tuple[str, ...], Infos]:
        """Start these games, one for each place of the batch: (intros, infos)."""
        if len(game_files) != self.batch_size:
            raise GameError(f"{len(game_files)} games are too many or too few for a batch of {self.batch_size}")
        self._playing = [str(path) for path in game_files]
        games = [self._told(path) for path in self._playing]
        self._helps = [game.help for game in games]
        self._steps = [0] * self.batch_size
        self._last = [env.reset(game) for env, game in zip(self.envs, games, strict=True)]
        return tuple(seen.text for seen in self._last), self._infos()

    def step(self, commands: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[bool, ...], Infos]:
        """Play one command in each game: (observations, scores, dones, infos), each with one entry a game.

        A score is 1 once the game is won, else 0.
        """
        if len(commands) != self.batch_size or not self._last:
            raise GameError(f"{len(commands)} commands for a batch of {self.batch_size}: give one each, after reset")
        limit, last, steps = self.max_steps, self._last, self._steps
        dones = []
        for i, (env, command) in enumerate(zip(self.envs, commands, strict=True)):
            seen = last[i]
            if not (seen.won or (limit and steps[i] >= limit)):
                last[i] = seen = env.step(command)
                steps[i] += 1
            dones.append(seen.won or bool(limit and steps[i] >= limit))
        texts = tuple(
            [f"{seen.text}\n" if seen.text == page else seen.text for seen, page in zip(last, self._helps, strict=True)]
        )
        return texts, tuple([int(seen.won) for seen in last]), tuple(dones), self._infos()

    @property
    def state_ids(self) -> tuple[str, ...]:
        """For each game, a digest of it and of its state, equal for equal states."""
        return tuple(env.state_id for env in self.envs)

    def close(self) -> None:
        """Nothing is held that must be given back."""

    def _told(self, path: str) -> Game:
        game = self._load(path)
        if self.human_goals and self._rng.random() < self.human_goals:
            sentences = read_annotations(path)
            number = self._rng.randrange(len(sentences))
            return tell(game, sentences[number], f"human:{number}")
        return game

    def _infos(self) -> Infos:
        return Infos(
            {
                "admissible_commands": [list(seen.admissible) for seen in self._last],
                "won": [seen.won for seen in self._last],
                GAME_KEY: list(self._playing),
            }
        )


class AlfredTWEnv:
    """The games that a config of alfworld names. config: alfworld's own (a dictionary, as its base_config.yaml reads).

    Heeded: dataset.{data_path, eval_id_data_path, eval_ood_data_path, num_train_games, num_eval_games},
    env.{task_types, goal_desc_human_anns_prob, domain_randomization}, general.training_method and, for the steps an
    episode may take, {rl, dagger}.training.max_nb_steps_per_episode. One of ours: env.dialect, see BatchEnv.
    train_eval: "train", "eval_in_distribution" or "eval_out_of_distribution".

    Raises GameError naming a field that is missing or asks for what is not done: randomised names, pictures.
    """

    def __init__(self, config: Mapping[str, Any], train_eval: str = "train") -> None:
        if train_eval not in _DATA_PATHS:
            raise GameError(f"train_eval is {train_eval!r}: choose one of {', '.join(_DATA_PATHS)}")
        self.config, self.train_eval = config, train_eval
        if train_eval == "train" and _field(config, "env", "domain_randomization", default=False):
            raise GameError(
                "config field env.domain_randomization: alfworld-lite does not rename things: set it to False"
            )
        self.human_goals = float(_field(config, "env", "goal_desc_human_anns_prob", default=0.0))
        self.dialect: str | None = _field(config, "env", "dialect", default=None)
        section = _STEP_LIMITS.get(_field(config, "general", "training_method"))
        if section is None:
            raise GameError(f"config field general.training_method is none of {', '.join(_STEP_LIMITS)}")
        self.max_steps = int(_field(config, section, "training", "max_nb_steps_per_episode"))
        self.collect_game_files()

    def collect_game_files(self, verbose: bool = False) -> None:
        """Find the games, as alfworld does: solvable, of the task types asked for, as many as asked for."""
        path_field, count_field = _DATA_PATHS[self.train_eval]
        folder = os.path.expanduser(os.path.expandvars(str(_field(self.config, "dataset", path_field))))
        wanted = {_TASK_TYPES.get(number) for number in _field(self.config, "env", "task_types")}
        found = []
        for root, _, files in os.walk(folder, topdown=False):
            path = Path(root, GAME_FILE)
            if GAME_FILE in files and not is_left_out(Path(root)) and _task_type(path) in wanted:
                if not is_unsolvable(path):
                    found.append(str(path))
                elif verbose:
                    print(f"{path}: left out, it cannot be won")
        if not found:
            raise GameError(f"config field dataset.{path_field}: no {GAME_FILE} of env.task_types below {folder}")
        count = int(_field(self.config, "dataset", count_field, default=-1))
        self.game_files = found[:count] if count > 0 else found
        self.num_games = len(self.game_files)

    def init_env(self, batch_size: int) -> BatchEnv:
        """The games in play, `batch_size` at a time."""
        return BatchEnv(self.game_files, batch_size, self.max_steps, self.human_goals, self.dialect)


def get_environment(env_type: str) -> type[AlfredTWEnv]:
    """AlfredTWEnv, by the name that config field env.type has. Raises GameError for the ones with pictures."""
    if env_type != "AlfredTWEnv":
        raise GameError(f"{env_type!r}: alfworld-lite has text alone, AlfredTWEnv; pictures need alfworld[full]")
    return AlfredTWEnv


def _task_type(path: Path) -> str:
    named = describe_path(path)[0]
    return named if named in TASK_TYPES else load_game(path).task_type


def _field(config: Mapping[str, Any], *names: str, default: Any = ...) -> Any:
    value: Any = config
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            if default is ...:
                raise GameError(f"config field {'.'.join(names)} is missing")
            return default
        value = value[name]
    return value
