"""One game: loading its file, in either dialect and in a person's words, and playing it."""

from __future__ import annotations

from pathlib import Path

from alfworld_lite._engine import alfworld_env, game
from alfworld_lite._engine.annotations import Task, tell
from alfworld_lite._engine.env import Observation
from alfworld_lite._engine.game import Game


def load_game(path: Path | str, dialect: str | None = None, annotation: int | None = None) -> Game:
    """Read and check one game file, a game.tw-pddl.

    dialect: the version of alfworld whose words to play it in, "0.4" (`move X to Y`) or "0.3" (`put X in/on Y`); None
    for that of the file. annotation: which of the people's sentences beside the game (traj_data.json) tells its goal,
    from 0 on; None for the file's own sentence.

    Raises GameError naming the file, the field and what to do.
    """
    loaded, sentence = game.load_game(path, dialect), Task(Path(path), annotation).sentence()
    return loaded if sentence is None else tell(loaded, sentence, f"human:{annotation}")


class AlfworldEnv(alfworld_env.AlfworldEnv):
    """One ALFWorld game at a time: `reset(game)`, `step(command)`, `clone()`, `state_id`.

    Winning does not lock the game: as in the official engine, commands still work, and `done` and `won` say whether
    the goal holds now.
    """

    def reset(self, game: Game | Path | str) -> Observation:
        """Start a game, loaded or given by its path; the observation's text is the intro with the goal sentence."""
        return super().reset(game if isinstance(game, Game) else load_game(game))
