"""A goal first misread is played wrongly, marked so, and reached in the end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from told import sentences

from duomem.core.scene import kinds_of, receptacles
from duomem.core.trajectory import Trajectory
from duomem.device.agent.rollout import rollout
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.annotations import tell
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation
from duomem.memory_packs.lexicon import Utterance
from duomem.train.lexicon_folds import LexiconFolds
from duomem.train.teachers.expert import Expert
from duomem.train.teachers.goal_spec import GoalSpec, goal_of, parse_goal
from duomem.train.teachers.misreading import Misreading, misread
from duomem.train.teachers.priors import combine, count_places
from duomem.train.teachers.teach import play_expert

INTRO = "Around you, you see a cabinet 1, a desk 1, and a desk 2.\n\nYour task is to: put a mug in desk."


@pytest.fixture(scope="module")
def games(generated_games: Path) -> list[Game]:
    """Train games, each told in words of no template."""
    found = [load_game(path) for path in find_games(generated_games, "train")]
    return [tell(game, sentences(game)[0], "human:0") for game in found]


@pytest.fixture(scope="module")
def priors(generated_games: Path) -> dict[str, float]:
    return combine(map(count_places, find_games(generated_games, "train")))


def _triple(game: Game) -> tuple[str, str, str]:
    return game.task_type, game.goal.object_type, game.goal.target_type


def _told(games: Sequence[Game]) -> Iterator[tuple[str, Utterance]]:
    for game in games:
        places = kinds_of(receptacles(AlfworldEnv().reset(game).text))
        yield game.path.parts[-3], (game.task, _triple(game), places)


@pytest.fixture(scope="module")
def words(games: list[Game]) -> LexiconFolds:
    return LexiconFolds(_told(games))


Play = Callable[..., Trajectory]


@pytest.fixture
def play(priors: dict[str, float], words: LexiconFolds) -> Play:
    """play(game, noise_rate=0.0, misread_rate=1.0, words=...) is an episode of at most 80 steps."""

    def run(
        game: Game, noise_rate: float = 0.0, misread_rate: float = 1.0, words: LexiconFolds | None = words
    ) -> Trajectory:
        return play_expert(game, priors, "train", 80, noise_rate, 0, None, misread_rate, words)

    return run


def test_a_misreading_is_another_goal_that_the_room_can_have(games: list[Game], words: LexiconFolds) -> None:
    counts = set()
    for game in games:
        intro = AlfworldEnv().reset(game).text
        places = kinds_of(receptacles(intro))
        possible = {goal_of(*goal) for goal in words.known if goal != _triple(game)}
        for seed in range(5):
            wrong, again = (misread(game, intro, words, random.Random(f"{seed} {game.digest}")) for _ in range(2))
            assert wrong == again
            counts.add(len(wrong))
            assert len(set(wrong)) == len(wrong) and set(wrong) <= possible
            assert all(goal.receptacle is None or goal.receptacle in places for goal in wrong)
    assert {1, 2} <= counts <= {0, 1, 2, 3, 4}


def test_words_with_one_meaning_are_not_misread(games: list[Game], play: Play) -> None:
    game = games[0]
    alone = LexiconFolds(_told([game]))
    assert misread(game, AlfworldEnv().reset(game).text, alone, random.Random(0)) == []
    assert play(game, words=alone) == play(game, misread_rate=0.0)


def test_what_the_room_cannot_have_is_no_misreading(games: list[Game]) -> None:
    game = games[0]
    elsewhere = ("another", (game.task, ("pick_and_place_simple", "unicorn", "stable"), ()))
    two = LexiconFolds([*_told([game]), *([elsewhere] * 3)])
    assert len(two.known) == 2
    assert misread(game, AlfworldEnv().reset(game).text, two, random.Random(0)) == []


def test_the_right_goal_is_reached_after_wrong_steps_that_are_noise(games: list[Game], play: Play) -> None:
    played = [play(game) for game in games]
    assert sum(t.won for t in played) >= 0.95 * len(played)
    assert sum(any(step.is_noise for step in t.steps) for t in played) >= 0.9 * len(played)
    for t in played:
        marks = [step.is_noise for step in t.steps]
        assert marks == sorted(marks, reverse=True)  # first the wrong goals, then the right one
    recovered = [t for t in played if t.won and t.steps[0].is_noise and not t.steps[-1].is_noise]
    assert len(recovered) >= 0.8 * len(played)


def test_a_share_of_episodes_is_misread(games: list[Game], play: Play) -> None:
    assert not any(step.is_noise for game in games for step in play(game, misread_rate=0.0).steps)
    half = [any(step.is_noise for step in play(game, misread_rate=0.5).steps) for game in games]
    assert 0 < sum(half) < len(games)


def test_noise_around_a_misreading(games: list[Game], play: Play) -> None:
    """The expert recovers from both, the same way each time, and both are marked."""
    calm, noisy = ([play(game, noise_rate) for game in games] for noise_rate in (0.0, 0.2))
    assert noisy == [play(game, 0.2) for game in games]
    assert sum(t.won for t in noisy) >= 0.85 * len(noisy)
    assert all(t.steps[0].is_noise for t in noisy if t.game in {c.game for c in calm if c.steps[0].is_noise})
    marks = [[step.is_noise for step in t.steps] for t in noisy]
    assert any(m != sorted(m, reverse=True) for m in marks)  # mistakes at the right goal too


def _observation(text: str) -> Observation:
    return Observation(text, ("look",), False, False)


def test_a_wrong_goal_ends_with_its_last_act() -> None:
    """Not with a command that did nothing, nor with a thing put elsewhere."""
    right, wrong = parse_goal("put a mug in desk."), parse_goal("put a pen in desk.")
    expert = Expert(INTRO, {})
    policy = Misreading(expert, [wrong])
    assert expert.goal == wrong and policy.is_noise
    for command, text in (
        ("move pen 1 to desk 2", "Nothing happens."),
        ("move pen 1 to cabinet 1", "You move the pen 1 to the cabinet 1."),
        ("move mug 1 to desk 1", "You move the mug 1 to the desk 1."),
        ("go to desk 1", "You arrive at desk 1."),
    ):
        policy.observe(command, _observation(text))
        assert policy.is_noise and expert.goal == wrong
    policy.observe("move pen 1 to desk 2", _observation("You move the pen 1 to the desk 2."))
    assert not policy.is_noise and expert.goal == right


def test_a_lamp_that_is_used_ends_a_wrong_goal() -> None:
    expert = Expert(INTRO, {})
    policy = Misreading(expert, [GoalSpec("mug", lamp="desklamp"), parse_goal("put a pen in desk.")])
    policy.observe("use desklamp 1", _observation("You turn on the desklamp 1."))
    assert policy.is_noise and expert.goal == parse_goal("put a pen in desk.")


def test_a_long_search_is_given_up() -> None:
    """After 18 steps, in a room with more to search; a command that is drawn then is the right goal's."""
    cabinets = ", ".join(f"a cabinet {n}" for n in range(60, 0, -1))
    expert = Expert(f"Around you, you see {cabinets}, and a desk 1.\n\nYour task is to: put a mug in desk.", {})
    policy = Misreading(expert, [GoalSpec("unicorn", receptacle="desk")])
    marks = []
    for _ in range(30):
        command = policy.act(_observation(""))
        marks.append(policy.is_noise)
        policy.observe(command, _observation(f"You arrive. On the {command.removeprefix('go to ')}, you see nothing."))
    assert marks == [True] * 18 + [False] * 12


def test_what_is_not_there_is_given_up(games: list[Game], priors: dict[str, float]) -> None:
    """After as many steps as a wrong goal may take; nothing is looked for longer."""
    for game in games[:6]:
        env = AlfworldEnv()
        observation = env.reset(game)
        right = parse_goal(game.template)
        expert = Expert(observation.text, priors, right)
        policy = Misreading(expert, [GoalSpec("unicorn", receptacle="desk"), GoalSpec("dragon", receptacle="desk")])
        played = rollout(env, policy, observation, 80)
        wrong = sum(step.is_noise for step in played.steps)
        assert played.last.won and expert.goal == right and 0 < wrong <= 36
        assert all(step.action != "look" for step in played.steps)
        assert not any(step.is_noise for step in played.steps[wrong:])
