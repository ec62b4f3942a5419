"""Generated games told in people's words: sentences written for the tests, in a traj_data.json beside each game."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from duomem.device.alfworld.annotations import ANNOTATIONS_FILE
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import GAME_FILE

_DONE = {
    "pick_clean_then_place_in_recep": "rinsed",
    "pick_heat_then_place_in_recep": "warmed",
    "pick_cool_then_place_in_recep": "chilled",
    "pick_two_obj_and_place": "both",
}


def sentences(game: Game) -> tuple[str, str]:
    """Two ways to tell the goal of a game, of no ALFWorld template; the second has a comma and an apostrophe."""
    thing, target, done = game.goal.object_type, game.goal.target_type, _DONE.get(game.task_type, "quickly")
    if game.task_type == "look_at_obj_in_light":
        return f"inspect the {thing} beside a bright {target}", f"it's too dark, hold the {thing} near the {target}"
    return f"bring the {thing} {done} over to the {target}", f"Somebody's {thing}, {done}, belongs with the {target}"


def annotate(path: Path, rows: object) -> None:
    """Write `rows` as the annotations of the game at `path`."""
    (path.parent / ANNOTATIONS_FILE).write_text(json.dumps({"turk_annotations": {"anns": rows}}))


def tell_all(games: Path, folder: Path) -> None:
    """Copy the `games` into `folder`, each with its two sentences beside it."""
    shutil.copytree(games, folder, dirs_exist_ok=True)
    for path in folder.rglob(GAME_FILE):
        annotate(path, [{"task_desc": sentence} for sentence in sentences(load_game(path))])
