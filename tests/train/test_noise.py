"""Noise injection: mistakes drawn the same each time, marked, and never trained on."""

from __future__ import annotations

from pathlib import Path

from duomem.core.trajectory import Step, Trajectory
from duomem.device.agent.policy import Policy
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation
from duomem.memory_packs.memory_format import write_memory
from duomem.train.teachers.noise import NoiseInjection
from duomem.train.teachers.priors import combine, count_places
from duomem.train.teachers.teach import play_expert

INTRO = "Looking around you, you see a cabinet 2, a cabinet 1, and a desk 1.\n\nYour task is to: put a mug in desk."


class _Dancer(Policy):
    """A policy of one command; told: those it was told of; closed: whether it is."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.closed = False

    def act(self, observation: Observation, /) -> str:
        return "dance"

    def observe(self, command: str, observation: Observation, /) -> None:
        self.told.append(command)

    def close(self) -> None:
        self.closed = True


def _seen(*admissible: str) -> Observation:
    return Observation("You see.", admissible, False, False)


def test_no_rate_no_mistakes() -> None:
    noise = NoiseInjection(_Dancer(), INTRO, 0.0, "seed", ["use lamp 1"])
    for _ in range(200):
        assert noise.act(_seen("look")) == "dance" and not noise.is_noise
        noise.observe("dance", _seen("look"))


def test_mistakes_are_missing_places_repeats_haste_or_admissible() -> None:
    noise = NoiseInjection(_Dancer(), INTRO, 1.0, "seed", ["use lamp 1"])
    for command in ("go to desk 1", "take mug 1 from desk 1"):
        noise.observe(command, _seen("look"))
    drawn = set()
    for _ in range(300):
        drawn.add(noise.act(_seen("look", "help")))
        assert noise.is_noise
    beyond = {c for c in drawn if c.startswith("go to ")}
    assert {"look", "use lamp 1", "take mug 1 from desk 1"} == drawn - beyond
    assert {"go to desk 2", "go to cabinet 3"} <= beyond
    assert not beyond & {"go to desk 1", "go to cabinet 1", "go to cabinet 2"}


def test_the_policy_is_told_of_mistakes_too_and_closed() -> None:
    inner = _Dancer()
    noise = NoiseInjection(inner, INTRO, 0.5, "seed", [])
    played = [(noise.act(_seen("look")), noise.is_noise) for _ in range(50)]
    for command, _ in played:
        noise.observe(command, _seen("look"))
    noise.close()
    assert inner.told == [command for command, _ in played] and inner.closed
    assert {is_noise for _, is_noise in played} == {True, False}
    assert all((command == "dance") != is_noise for command, is_noise in played)


def test_expert_recovers_and_mistakes_are_marked(generated_games: Path) -> None:
    games = find_games(generated_games, "train")
    priors = combine(count_places(g) for g in games)
    wins = mistakes = 0
    for path in games:
        game = load_game(path)
        played = play_expert(game, priors, "train", 50, 0.3, seed=1)
        assert played == play_expert(game, priors, "train", 50, 0.3, seed=1)
        wins += played.won
        mistakes += sum(step.is_noise for step in played.steps)
        env = AlfworldEnv()
        observation = env.reset(game)
        for step in played.steps:
            assert step.observation == observation.text
            observation = env.step(step.action)
    assert mistakes > len(games)
    assert wins >= 0.9 * len(games)


def test_a_memory_keeps_no_mistakes() -> None:
    admissible = ("take mug 1 from desk 1", "take pen 1 from desk 1", "move mug 1 to shelf 1")
    steps = (
        Step("You see.", admissible, "take pen 1 from desk 1", is_noise=True),
        Step("You see.", admissible, "take mug 1 from desk 1"),
        Step("You see.", admissible, "go to bed 7", is_noise=True),
        Step("You see.", admissible, "go to shelf 1"),
        Step("You see.", admissible, "move mug 1 to shelf 1"),
    )
    played = Trajectory(
        "0" * 64,
        "group",
        "train",
        "pick_and_place_simple",
        "mug",
        "shelf",
        "put a mug in shelf.",
        "template",
        "put a mug in shelf.",
        INTRO,
        steps,
        "",
        True,
        "expert/2",
        0,
    )
    assert write_memory(played).steps == ("take mug from desk", "go to shelf", "move mug to shelf")
