"""The words of ALFWorld 0.3 and 0.4: a file says which it speaks, and every game can be played in both."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from old_rules import as_old

from duomem.core.errors import GameError
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.dialect import translate
from duomem.device.alfworld.game import Game, load_game, parse_game
from duomem.device.alfworld.game_files import find_games


@pytest.fixture(scope="module")
def pairs(generated_games: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """Six games with the rules of 0.4.2 and of 0.3.5."""
    folder = tmp_path_factory.mktemp("old")
    return [(path, as_old(path, folder)) for path in find_games(generated_games, "train")[::3]]


def _same(one: Game, other: Game, seed: int) -> None:
    """The stored solution and a random walk say and offer the same in both."""
    rng, envs = random.Random(seed), (AlfworldEnv(), AlfworldEnv())
    assert one.walkthrough == other.walkthrough
    seen = [env.reset(game) for env, game in zip(envs, (one, other), strict=True)]
    for index in range(len(one.walkthrough) + 60):
        assert seen[0] == seen[1]
        assert seen[0].won or index != len(one.walkthrough)
        command = one.walkthrough[index] if index < len(one.walkthrough) else rng.choice(seen[0].admissible)
        seen = [env.step(command) for env in envs]


def test_every_game_speaks_both(pairs: list[tuple[Path, Path]]) -> None:
    for seed, (new, old) in enumerate(pairs):
        _same(load_game(new), load_game(old), seed)
        _same(load_game(new, dialect="0.3"), load_game(old, dialect=None), seed)


def test_what_differs(pairs: list[tuple[Path, Path]]) -> None:
    new, old = next(pair for pair in pairs if "pick_and_place" in str(pair[0]))
    game, env = load_game(old, dialect=None), AlfworldEnv()
    first = env.reset(game)
    assert game.dialect == "0.3" and game.help == "" and "help" not in first.admissible
    assert env.step("help").text == "Nothing happens."
    texts = [env.step(command).text for command in game.walkthrough]
    assert texts[0].startswith("You arrive at loc ") and any(text.startswith("You put the ") for text in texts)
    assert load_game(new, dialect=None).dialect == load_game(old).dialect == "0.4"


@pytest.mark.parametrize(
    ("command", "new", "old"),
    [
        ("move mug 1 to desk 2", "move mug 1 to desk 2", "put mug 1 in/on desk 2"),
        ("put mug 1 in/on desk 2", "move mug 1 to desk 2", "put mug 1 in/on desk 2"),
        ("go to desk 2", "go to desk 2", "go to desk 2"),
        ("put mug 1", "put mug 1", "put mug 1"),
    ],
)
def test_commands_are_translated(command: str, new: str, old: str) -> None:
    assert (translate(command, "0.4"), translate(command, "0.3")) == (new, old)


def test_mixed_rules_are_refused(pairs: list[tuple[Path, Path]]) -> None:
    """The domain of one version with the grammar of the other, or an old grammar with a help page."""
    new, old = (json.loads(path.read_bytes()) for path in pairs[0])
    for fields in (
        {**new, "pddl_domain": old["pddl_domain"]},
        {**old, "pddl_domain": new["pddl_domain"]},
        {**old, "grammar": old["grammar"] + new["grammar"][new["grammar"].index("action help {") :]},
        {**old, "grammar": old["grammar"].replace("in/on", "on")},
    ):
        with pytest.raises(GameError, match="grammar is not that of"):
            parse_game(json.dumps(fields).encode(), Path("a/game.tw-pddl"))
    with pytest.raises(GameError, match=r"dialect '0\.2' is none of 0\.4, 0\.3"):
        load_game(pairs[0][0], dialect="0.2")
