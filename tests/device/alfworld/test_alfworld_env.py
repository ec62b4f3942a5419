"""duomem's engine by itself: walkthroughs, goals, what a won game does, speed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game, parse_game
from duomem.device.alfworld.game_files import SPLITS, find_games
from duomem.device.alfworld.goal import TASK_TYPES


@pytest.fixture(scope="module")
def games(generated_games: Path) -> list[Game]:
    return [load_game(path) for split in SPLITS for path in find_games(generated_games, split)]


def _wins(game: Game) -> None:
    env = AlfworldEnv()
    seen = env.reset(game)
    for command in game.walkthrough:
        assert not seen.won and not seen.done and command in seen.admissible
        seen = env.step(command)
    assert seen.won and seen.done


def test_generated_walkthroughs_win(games: list[Game]) -> None:
    assert {game.task_type for game in games} == set(TASK_TYPES)
    for game in games:
        _wins(game)


def test_real_walkthroughs_win(real_games: list[Path]) -> None:
    for path in real_games:
        game = load_game(path)
        assert path.parts[-3].startswith(game.task_type)
        _wins(game)


def test_half_a_walkthrough_does_not_win(games: list[Game]) -> None:
    """Leaving out any command that changes something leaves the goal unreached."""
    for game in games:
        for left_out in range(len(game.walkthrough)):
            if game.walkthrough[left_out].startswith(("go ", "open ")):
                continue
            env = AlfworldEnv()
            seen = env.reset(game)
            for command in game.walkthrough[:left_out] + game.walkthrough[left_out + 1 :]:
                seen = env.step(command)
            assert not seen.won


def test_observations(games: list[Game]) -> None:
    for game in games:
        env = AlfworldEnv()
        first = env.reset(game)
        assert first.text.startswith("-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room.")
        assert first.text.endswith(f"Your task is to: {game.task}")
        assert list(first.admissible) == sorted(set(first.admissible))
        nothing = env.step("dance")
        assert nothing.text == "Nothing happens." and nothing.admissible == first.admissible
        assert env.step("  inventory\n").text == "You are not carrying anything."
        assert env.step("help").text == game.help
        assert env.step(game.walkthrough[0]).text.startswith("You arrive at ")
        assert env.reset(game) == first


def test_winning_does_not_end_the_game(games: list[Game]) -> None:
    """As in the official engine, which goes on: taking the object away again loses the goal."""
    game = next(game for game in games if game.task_type == "pick_and_place_simple")
    env = AlfworldEnv()
    env.reset(game)
    for command in game.walkthrough:
        seen = env.step(command)
    thing, _, target = game.walkthrough[-1].removeprefix("move ").partition(" to ")
    seen = env.step(f"take {thing} from {target}")
    assert not seen.won and not seen.done
    assert env.step(game.walkthrough[-1]).won


def test_goal_is_evaluated_as_written(games: list[Game]) -> None:
    """Not by task type: a place goal that also asks for the object to be at a location is just that."""
    game = next(game for game in games if game.task_type == "pick_and_place_simple")
    fields = json.loads(game.path.read_bytes())
    placed = "(inReceptacle ?o ?r)"
    fields["pddl_problem"] = fields["pddl_problem"].replace(placed, f"{placed} (objectAtLocation ?o {game.start})")
    changed = parse_game(json.dumps(fields).encode(), game.path)
    assert changed.task_type == "pick_and_place_simple"
    env = AlfworldEnv()
    env.reset(changed)
    assert not any(env.step(command).won for command in changed.walkthrough)


def test_fast_enough(games: list[Game]) -> None:
    """5,000 steps a second with admissible commands, 50 ms a load; ten and more times that is usual."""
    begin = time.process_time()
    loaded = [load_game(game.path) for game in games]
    assert (time.process_time() - begin) / len(loaded) < 0.05
    env, steps = AlfworldEnv(), 0
    begin = time.process_time()
    for _ in range(5):
        for game in loaded:
            env.reset(game)
            for command in game.walkthrough:
                env.step(command)
                steps += 1
    assert steps / (time.process_time() - begin) > 5000
