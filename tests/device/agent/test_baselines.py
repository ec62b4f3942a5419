"""The random policy draws fairly and the matcher follows its memories with string comparison alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from duomem.device.agent.action_filter import ActionFilter
from duomem.device.agent.baselines import MatcherPolicy, RandomPolicy, exchange_words
from duomem.device.agent.rollout import rollout
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import MEMORY_FORMATS, write_memory
from duomem.train.teachers.teach import play_expert

INTRO = "You see a bed 1.\nYour task is to: put a mug in shelf."
PLACES = ("go to bed 1", "go to desk 1", "go to desk 2", "go to shelf 1")


def _seen(*admissible: str, text: str = "You see nothing.") -> Observation:
    return Observation(text, admissible, False, False)


def _memory(*steps: str, task: str = "put a mug in shelf.") -> Memory:
    return Memory(task, "pick_and_place_simple", "", "", steps, "", "")


def _mug(*more: str) -> Memory:
    return _memory("search desk", "take mug from desk", "go to shelf", "move mug to shelf", *more)


def test_every_admissible_command_is_drawn_equally_often() -> None:
    policy = RandomPolicy("0/game")
    drawn = Counter(policy.act(_seen("help", "look", "take mug 1 from desk 1")) for _ in range(3000))
    assert set(drawn) == {"help", "look", "take mug 1 from desk 1"} and min(drawn.values()) > 900


def test_draws_depend_on_the_seed_alone() -> None:
    one, same, other = (RandomPolicy(seed) for seed in ("0/a", "0/a", "0/b"))
    drawn = [[policy.act(_seen(*PLACES)) for _ in range(20)] for policy in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_withheld_command_is_drawn_only_where_nothing_else_is_left() -> None:
    policy = RandomPolicy("0", ActionFilter("you see a desk 1."))
    policy.observe("look", _seen(text="You see a desk 1."))
    policy.observe("look", _seen(text="You see a desk 1."))
    assert {policy.act(_seen("look", "help")) for _ in range(30)} == {"help"}
    assert policy.act(_seen("look")) == "look"


def test_a_step_is_played_without_its_numbers_and_wherever_its_object_lies() -> None:
    policy = MatcherPolicy(INTRO, [_mug()])
    assert policy.act(_seen("take mugcup 1 from bed 1", "take mug 2 from bed 1", *PLACES)) == "take mug 2 from bed 1"


def _walk(policy: MatcherPolicy, places: tuple[str, ...], n: int) -> list[str]:
    """Where it goes in `n` steps if it finds nothing."""
    went: list[str] = []
    for _ in range(n):
        went.append(policy.act(_seen(*places)))
        policy.observe(went[-1], _seen(text="Empty."))
    return went


def test_places_the_memory_names_come_first_and_the_one_of_the_step_itself_before_all() -> None:
    policy = MatcherPolicy(INTRO, [_memory("search desk, bed, shelf", "take mug from shelf")])
    went = ["go to shelf 1", "go to desk 1", "go to desk 2", "go to bed 1"]
    assert _walk(policy, PLACES, 6) == [*went, *went[:2]]


def test_kinds_of_few_instances_come_before_those_of_many() -> None:
    policy = MatcherPolicy(INTRO, [_memory("take mug")])
    places = ("go to bed 1", "go to bed 2", "go to desk 1")
    assert _walk(policy, places, 3) == ["go to desk 1", "go to bed 1", "go to bed 2"]


def test_a_place_that_does_not_take_the_thing_is_left_for_the_next_of_its_kind() -> None:
    policy = MatcherPolicy(INTRO, [_memory("go to desk", "move mug to desk")])
    assert _walk(policy, PLACES, 3) == ["go to desk 1", "go to desk 2", "go to bed 1"]


def test_what_is_closed_where_it_stands_is_opened() -> None:
    policy = MatcherPolicy(INTRO, [_mug()])
    policy.observe("go to desk 1", _seen(text="The desk 1 is closed."))
    assert policy.act(_seen("open desk 2", "open desk 1", *PLACES)) == "open desk 1"


def test_a_thing_read_of_before_is_gone_for_directly() -> None:
    policy = MatcherPolicy(INTRO, [_mug("search desk", "take pen from desk")])
    policy.observe("go to bed 1", _seen(text="On the bed 1, you see a pen 3, and a mug 1."))
    policy.observe("take mug 1 from bed 1", _seen(text="You pick up the mug 1."))
    assert policy.act(_seen(*PLACES)) == "go to shelf 1"
    policy.observe("move mug 1 to shelf 1", _seen(text="You move the mug 1."))
    assert policy.act(_seen(*PLACES)) == "go to bed 1"


def test_places_seen_to_hold_nothing_wanted_come_last() -> None:
    policy = MatcherPolicy(INTRO, [_mug("search bed", "take mug from bed")])
    policy.observe("go to bed 1", _seen(text="On the bed 1, you see a mug 1."))
    policy.observe("take mug 1 from bed 1", _seen(text="You pick up the mug 1."))
    policy.observe("move mug 1 to shelf 1", _seen(text="You move the mug 1."))
    assert _walk(policy, PLACES, 4) == ["go to shelf 1", "go to desk 1", "go to desk 2", "go to bed 1"]


def test_a_step_that_did_nothing_is_not_done() -> None:
    policy = MatcherPolicy(INTRO, [_mug()])
    policy.observe("take mug 1 from desk 1", _seen(text="Nothing happens."))
    assert policy.act(_seen("take mug 2 from desk 1", *PLACES)) == "take mug 2 from desk 1"


def test_what_was_moved_is_not_taken_back() -> None:
    policy = MatcherPolicy(INTRO, [_mug("search desk", "take mug from desk", "go to shelf", "move mug to shelf")])
    policy.observe("go to shelf 1", _seen())
    policy.observe("take mug 1 from shelf 1", _seen())
    policy.observe("move mug 1 to shelf 1", _seen(text="You move the mug 1."))
    assert policy.act(_seen("take mug 1 from shelf 1", "take mug 2 from shelf 1")) == "take mug 2 from shelf 1"
    assert policy.act(_seen("take mug 1 from shelf 1", *PLACES)) == "go to desk 1"


def test_after_the_last_step_the_next_memory_follows_and_then_the_first_again() -> None:
    policy = MatcherPolicy(INTRO, [_memory("take mug from desk"), _memory("use desklamp")])
    expected = ["take mug 1 from desk 1", "use desklamp 1", "use desklamp 1"]
    for command in expected:
        assert policy.act(_seen("take mug 1 from desk 1", "use desklamp 1")) == command
        policy.observe(command, _seen())


def test_a_thing_of_another_memory_is_put_down() -> None:
    policy = MatcherPolicy(INTRO, [_memory("take mug from desk"), _memory("take pen from desk")])
    policy.observe("take mug 1 from desk 1", _seen())
    assert policy.act(_seen("go to bed 1", "move mug 1 to desk 1")) == "move mug 1 to desk 1"
    policy.observe("move mug 1 to desk 1", _seen())
    assert policy.act(_seen("take mug 1 from desk 1", "take pen 1 from desk 1")) == "take pen 1 from desk 1"


@pytest.mark.parametrize("memories", [[], [_memory("search desk", "avoid look")], [_memory("take mug")]])
def test_memories_that_say_little_still_give_admissible_commands(memories: list[Memory]) -> None:
    policy = MatcherPolicy(INTRO, memories)
    for observation in (_seen(*PLACES), _seen("look"), _seen("take mug 1 from bed 1")) * 3:
        command = policy.act(observation)
        assert command in observation.admissible
        policy.observe(command, observation)


def test_words_that_differ_are_exchanged_in_the_steps_alone() -> None:
    memory = _memory("search desk", "take mug from desk", "go to shelf", "move mug to shelf")
    exchanged = exchange_words(memory, "Put a pen in drawer.")
    assert exchanged.steps == ("search desk", "take pen from desk", "go to drawer", "move pen to drawer")
    assert exchanged.task == memory.task
    assert exchange_words(memory, memory.task) == memory
    assert exchange_words(memory, "put a heavy old pen in the drawer.") == memory
    assert exchange_words(memory, "drop a pen in shelf.") == memory


def test_the_steps_are_followed_with_the_goals_own_words() -> None:
    policy = MatcherPolicy("Your task is to: put a pen in shelf.", [_mug()])
    assert policy.act(_seen("take mug 1 from desk 1", "take pen 1 from desk 1")) == "take pen 1 from desk 1"


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
def test_a_memory_of_the_very_game_wins_it(generated_games: Path, memory_format: str) -> None:
    games = [load_game(path) for path in find_games(generated_games, "train")]
    won = 0
    for game in games:
        memory = write_memory(play_expert(game, {}, "train", 100), memory_format)
        env = AlfworldEnv()
        observation = env.reset(game)
        played = rollout(env, MatcherPolicy(observation.text, [memory]), observation, 50)
        assert all(step.action in step.admissible for step in played.steps)
        won += played.last.won
    assert won >= len(games) - 1
