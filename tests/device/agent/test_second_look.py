"""An episode that is not won goes on with memories of other goals, on the very tokens training would make of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fakes import FakeEngine, random_opinion

from duomem.core.errors import UserError
from duomem.device.agent.agent import Agent
from duomem.device.agent.policy import Policy
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.agent.recall import recall
from duomem.device.agent.second_look import AFTER, SecondLook, Turn
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation
from duomem.memory_packs.lexicon import UNIT, Lexicon
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever

SEEN = Observation("", ("look",), False, False)


class _Named(Policy):
    def __init__(self, name: str) -> None:
        self.name = name
        self.seen = 0
        self.closed = 0

    def act(self, observation: Observation, /) -> str:
        return self.name

    def observe(self, command: str, observation: Observation, /) -> None:
        self.seen += 1

    def close(self) -> None:
        self.closed += 1


def test_the_second_policy_is_made_once_of_all_that_was_played() -> None:
    first, second = _Named("first"), _Named("second")
    made: list[list[Turn]] = []

    def again(turns: object) -> Policy:
        assert isinstance(turns, list)
        made.append(list(turns))
        return second

    policy = SecondLook(first, again, after=2)
    said = []
    for _ in range(4):
        said.append(policy.act(SEEN))
        policy.observe(said[-1], SEEN)
    assert said == ["first", "first", "second", "second"]
    assert made == [[("first", SEEN), ("first", SEEN)]]
    assert (first.seen, first.closed, second.seen, second.closed) == (2, 1, 2, 0)
    policy.close()
    assert (first.closed, second.closed) == (1, 1)


def test_no_policy_is_closed_twice_if_the_second_cannot_be_made() -> None:
    first = _Named("first")

    def again(turns: object) -> Policy:
        raise UserError("all sessions are in use")

    policy = SecondLook(first, again, after=0)
    with pytest.raises(UserError):
        policy.act(SEEN)
    policy.close()
    assert first.closed == 1


@pytest.fixture
def game(generated_games: Path) -> Game:
    return load_game(find_games(generated_games, "train")[0])


def _memory(task: str, target: str) -> Memory:
    return Memory(task, "pick_and_place_simple", "mug", target, ("look",), target, "")


@pytest.mark.parametrize("second_look", [True, False])
def test_after_a_while_other_memories_are_read(game: Game, byte_tokenizer: Path, second_look: bool) -> None:
    tokenizer = PromptTokenizer(byte_tokenizer)
    memories = [_memory(game.task, target) for target in ("desk", "sofa", "shelf", "bed")]
    engine = FakeEngine(random_opinion(300), 300)
    agent = Agent(
        engine, tokenizer, "", "constrained", Retriever(memories), k=2, max_steps=AFTER + 5, second_look=second_look
    )
    later: list[Memory] = []
    episode = agent.play(game, "train", on_second_look=later.extend)
    agent.close()
    assert len(episode.commands) == AFTER + 5, "the seed of the student's opinions should not win this game"
    intro = AlfworldEnv().reset(game).text
    first = recall(Retriever(memories), intro, 2, game.digest)
    others = recall(Retriever(memories), intro, 1, game.digest, first) if second_look else ()
    assert (
        len(first) == 2
        and len(others) == second_look
        and {m.triple for m in first}.isdisjoint(m.triple for m in others)
    )
    assert tuple(later) == others and episode.memories == (*first, *others)
    turns = episode.trajectory.turns()
    held = [tokens for tokens in engine.closed if len(tokens) > len(tokenizer.system())]
    assert len(held) == 1 + second_look
    for shown, tokens in zip((first, (*others, first[0])), held, strict=False):
        stream = [t for s in tokenizer.episode(intro, turns, [m.text() for m in shown]) for t in s.tokens]
        assert list(tokens) == stream[: len(tokens)]
    assert len(held[-1]) > len(held[0]) or not second_look
    assert not engine.open


def test_what_was_shown_makes_room_for_less_likely_goals() -> None:
    """The desk is likeliest, the shelf a 30th and the bed a 1,000th as likely."""
    chances = {"bed": 0.001, "desk": 1.0, "shelf": 1 / 30}
    row = [n for i, chance in enumerate(chances.values()) for n in (2 + i, round(math.log(chance) / UNIT))]
    lexicon = Lexicon([["pick_and_place_simple"], ["mug"], list(chances)], {"xyzzy": row})
    retriever = Retriever([_memory(target, target) for target in chances], lexicon)
    intro = "You see a bed 1, a desk 1, and a shelf 1.\n\nYour task is to: xyzzy."
    first = recall(retriever, intro, 3, "game")
    assert [m.target_type for m in first] == ["desk"]
    assert [m.target_type for m in recall(retriever, intro, 3, "game", first)] == ["shelf"]
