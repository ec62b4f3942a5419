"""ALFWorld's text games in pure Python: word for word what the official engine says, thousands of times faster.

`AlfworldEnv` plays one game. Batches are in `batch` (ALFWorld's own interface), `gym` (Gymnasium), `verl` and `trl`.
A mistake in files or arguments is a `UserError` of one line; those of games are `GameError`s.
"""

from alfworld_lite._engine.annotations import read_annotations, tell
from alfworld_lite._engine.dialect import DIALECTS
from alfworld_lite._engine.env import Observation
from alfworld_lite._engine.errors import GameError, UserError
from alfworld_lite._engine.game import Game
from alfworld_lite._engine.game_files import SPLITS, find_games
from alfworld_lite._engine.goal import TASK_TYPES
from alfworld_lite.batch import AlfredTWEnv, BatchEnv, get_environment
from alfworld_lite.single import AlfworldEnv, load_game

__version__ = "0.1.0"
__all__ = [
    "DIALECTS",
    "SPLITS",
    "TASK_TYPES",
    "AlfredTWEnv",
    "AlfworldEnv",
    "BatchEnv",
    "Game",
    "GameError",
    "Observation",
    "UserError",
    "find_games",
    "get_environment",
    "load_game",
    "read_annotations",
    "tell",
]
