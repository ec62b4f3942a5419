"""A person plays the same game; a model that gives hints reads what was played, not what it would have played."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeEngine, random_opinion

from duomem.core.chat.faults import NoAnswer
from duomem.device.agent.agent import Agent
from duomem.device.agent.person import PLAYER, Hint, play_person
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation


@pytest.fixture
def game(generated_games: Path) -> Game:
    return load_game(find_games(generated_games, "train")[0])


class _Person:
    """Says given commands, then stops; "" is what the hint says."""

    def __init__(self, *commands: str) -> None:
        self._left = list(commands)
        self.hints: list[Hint | None] = []

    def __call__(self, observation: Observation, hint: Hint | None) -> str:
        self.hints.append(hint)
        if not self._left:
            raise NoAnswer("the player stopped")
        return self._left.pop(0) or (hint.command if hint else "")


def _agent(byte_tokenizer: Path, protocol: str = "free") -> tuple[FakeEngine, Agent]:
    engine = FakeEngine(random_opinion(300), 300)
    return engine, Agent(engine, PromptTokenizer(byte_tokenizer), "m", protocol, max_steps=6)


def test_what_a_person_plays_is_recorded(game: Game) -> None:
    steps: list[str] = []
    episode = play_person(game, _Person("look", "eat mug"), on_step=lambda c, o, choice: steps.append(c))
    assert episode.commands == ("look", "eat mug") == tuple(steps)
    assert (episode.ended, episode.trajectory.player, episode.choices) == ("unanswered", PLAYER, ())
    assert episode.trajectory.last == "Nothing happens." and episode.prefilled == 0


def test_steps_are_counted(game: Game) -> None:
    assert play_person(game, _Person(*["look"] * 9), max_steps=3).ended == "steps"


@pytest.mark.parametrize("protocol", ["free", "constrained"])
def test_hints_are_those_of_a_model_that_played_so(game: Game, byte_tokenizer: Path, protocol: str) -> None:
    """The model that gives hints holds, at its end, the very tokens of one that was asked for nothing else."""
    said = ["look", "", "inventory", "help", ""]
    engine, agent = _agent(byte_tokenizer, protocol=protocol)
    person = _Person(*said)
    episode = play_person(game, person, agent)
    played = episode.commands
    hinted = [hint.command for hint in person.hints if hint]
    assert len(hinted) == len(said) + 1 and played[1] == hinted[1] and played[4] == hinted[4]
    assert len(episode.choices) == len(said) and all(choice.candidates for choice in episode.choices)
    held = engine.closed[-1]

    other, again = _agent(byte_tokenizer, protocol=protocol)
    play_person(game, _Person(*played), again)
    assert other.closed[-1] == held and len(engine.open) == 1
    tokenizer = PromptTokenizer(byte_tokenizer)
    text = tokenizer.decode(list(held))
    for command in ("look", "inventory", "help"):
        assert f"{command}\n" in text


def test_hints_end_where_the_context_does(game: Game, byte_tokenizer: Path) -> None:
    person = _Person(*["look"] * 6)
    engine, agent = _agent(byte_tokenizer)
    engine.context_length = engine.open[0].length + len(AlfworldEnv().reset(game).text) + 300
    episode = play_person(game, person, agent, max_steps=6)
    assert person.hints[0] is not None and person.hints[-1] is None
    assert len(episode.commands) == len(episode.choices) == 6 and episode.choices[-1].candidates == ()
    assert len(engine.open) == 1
