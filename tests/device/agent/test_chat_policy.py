"""A chat is written as the model's own template writes it, and only what was seen and done stays in the session."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from episodes import episode
from fakes import FakeEngine, Opinion, random_opinion
from tokenizers import Tokenizer

from duomem.core.errors import ModelError, TrajectoryError
from duomem.core.trajectory import Trajectory
from duomem.device.agent.action_filter import ActionFilter
from duomem.device.agent.agent import Agent
from duomem.device.agent.chat_policy import NEW_GAME, SYSTEM, ChatPolicy, ChatTokenizer, choose_by_mean, read_examples
from duomem.device.agent.constrained_decoding import score
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.agent.rollout import rollout
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.engine.session import ContextFull
from duomem.device.world.env import Observation
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever

EXAMPLES = [("You see a desk 1. Your task is to: rest.", [("go to desk 1", "You arrive."), ("look", "You rest.")])]
PREFIX = (
    f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    f"<|im_start|>user\n{NEW_GAME}{EXAMPLES[0][0]}<|im_end|>\n<|im_start|>assistant\ngo to desk 1<|im_end|>\n"
    "<|im_start|>user\nYou arrive.<|im_end|>\n<|im_start|>assistant\nlook<|im_end|>\n"
)
INTRO = "You see a bed 1, and a desk 1. Your task is to: sleep."


@pytest.fixture(scope="module")
def chatml(byte_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the byte tokenizer with the special tokens of ChatML."""
    tokenizer = Tokenizer.from_file(str(byte_tokenizer / "tokenizer.json"))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    folder = tmp_path_factory.mktemp("chatml")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def tokenizer(chatml: Path) -> ChatTokenizer:
    return ChatTokenizer(PromptTokenizer(chatml))


class _Chat:
    """A student that answers with `answers`, one a turn, and remembers the texts it was asked about."""

    def __init__(self, folder: Path, answers: Sequence[str] = ()) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.asked: list[str] = []
        self._answers = answers

    def __call__(self, tokens: tuple[int, ...]) -> np.ndarray:
        text = self.text(tokens)
        chat, _, written = text.rpartition("<|im_start|>assistant\n")
        if not written:
            self.asked.append(text)
        turn = chat.count("<|im_start|>assistant\n") - 2
        logits = np.zeros(300, np.float32)
        answer = self.tokenizer.encode(f"{self._answers[turn]}<|im_end|>").ids if turn < len(self._answers) else []
        if len(written) < len(answer):
            logits[answer[len(written)]] = 9
        return logits

    def text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False)


def _policy(
    opinion: Opinion,
    tokenizer: ChatTokenizer,
    memories: Sequence[str] = (),
    action_filter: ActionFilter | None = None,
) -> tuple[ChatPolicy, FakeEngine]:
    engine = FakeEngine(opinion, 300)
    session = engine.session()
    session.prefill(tokenizer.prefix(EXAMPLES))
    return ChatPolicy(session, tokenizer, INTRO, memories, action_filter), engine


def _seen(text: str, *admissible: str) -> Observation:
    return Observation(text, admissible, False, False)


@pytest.mark.parametrize("kind", ["chatml", "smollm2"])
def test_the_tokens_are_those_of_the_whole_chat(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = ChatTokenizer(PromptTokenizer(folder))
    assert tokenizer.prefix(EXAMPLES) == whole.encode(PREFIX, add_special_tokens=False).ids
    asked = [*tokenizer.question("Where?"), *tokenizer.reply("go to desk 1")]
    chat = "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\ngo to desk 1<|im_end|>"
    assert asked == whole.encode(chat, add_special_tokens=False).ids
    assert tokenizer.exchange("Where?", "go to desk 1") == whole.encode(f"{chat}\n", add_special_tokens=False).ids


def test_a_tokenizer_without_the_special_tokens(byte_tokenizer: Path) -> None:
    with pytest.raises(ModelError, match="no special token"):
        ChatTokenizer(PromptTokenizer(byte_tokenizer))


def test_commands_are_shown_for_the_current_turn_alone(chatml: Path, tokenizer: ChatTokenizer) -> None:
    student = _Chat(chatml, ["go to desk 1", "look"])
    policy, engine = _policy(student, tokenizer)
    assert policy.act(_seen(INTRO, "go to bed 1", "go to desk 1")) == "go to desk 1"
    policy.observe("go to desk 1", _seen("On the desk 1, you see nothing."))
    assert policy.act(_seen("On the desk 1, you see nothing.", "go to bed 1", "look")) == "look"
    history = f"{PREFIX}<|im_start|>user\n{NEW_GAME}{INTRO}<|im_end|>\n<|im_start|>assistant\ngo to desk 1<|im_end|>\n"
    assert student.asked == [
        f"{PREFIX}<|im_start|>user\n{NEW_GAME}{INTRO}\n\nAdmissible commands: go to bed 1, go to desk 1<|im_end|>\n"
        "<|im_start|>assistant\n",
        f"{history}<|im_start|>user\nOn the desk 1, you see nothing.\n\nAdmissible commands: go to bed 1, look"
        "<|im_end|>\n<|im_start|>assistant\n",
    ]
    policy.close()
    assert student.text(engine.closed[0]) == history


def test_a_withheld_command_is_neither_shown_nor_played(chatml: Path, tokenizer: ChatTokenizer) -> None:
    student = _Chat(chatml, ["take pen 1", "take pen 1"])
    policy, _ = _policy(student, tokenizer, (), ActionFilter(INTRO))
    assert policy.act(_seen(INTRO, "take pen 1", "look")) == "look"
    assert "take pen 1" not in student.asked[0]
    policy.observe("look", _seen("Nothing happens."))
    assert policy.act(_seen("Nothing happens.", "look")) == "look"


def test_a_game_is_played_until_the_context_is_full(generated_games: Path, tokenizer: ChatTokenizer) -> None:
    env = AlfworldEnv()
    observation = env.reset(load_game(find_games(generated_games, "train")[0]))
    for space, least in ((0, 0), (1500, 1), (100_000, 4)):
        prefix = tokenizer.prefix(EXAMPLES)
        engine = FakeEngine(random_opinion(300), 300, context_length=len(prefix) + space)
        session = engine.session()
        session.prefill(prefix)
        env.reset(load_game(find_games(generated_games, "train")[0]))
        policy = ChatPolicy(session, tokenizer, observation.text)
        played = rollout(env, policy, observation, 4)
        policy.close()
        assert played.ended == ("steps" if least == 4 else "context") and len(played.steps) >= least
        assert all(step.action in step.admissible for step in played.steps) and not engine.open


def test_memories_are_shown_before_the_game(chatml: Path, tokenizer: ChatTokenizer) -> None:
    student = _Chat(chatml, ["look"])
    policy, _ = _policy(student, tokenizer, ["put a mug in desk: take mug"])
    policy.act(_seen(INTRO, "look"))
    (asked,) = student.asked
    told = "How a task like it was solved before: put a mug in desk: take mug"
    assert f"user\n{NEW_GAME}{told}\n\n{INTRO}\n\nAdmissible commands: look<|im_end|>" in asked


def _file(tmp_path: Path, *played: Trajectory) -> Path:
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps(t.to_json()) + "\n" for t in played))
    return file


def _won(i: int, task_type: str, steps: int, **changes: Any) -> Trajectory:
    played = episode(i, commands=tuple(f"look {n}" for n in range(steps)))
    return replace(played, task_type=task_type, **changes)


def test_the_two_shortest_won_games_of_different_types_are_shown(tmp_path: Path) -> None:
    mistaken = tuple(replace(step, is_noise=True) for step in episode(9).steps)
    played = [
        _won(0, "a", 5),
        _won(1, "b", 9),
        _won(2, "a", 4),
        _won(4, "a", 3),
        _won(3, "a", 3),
        _won(5, "c", 1, won=False),
        replace(episode(6), task_type="d", steps=mistaken),
        _won(7, "e", 10),
    ]
    for order in (played, played[::-1]):
        assert read_examples(_file(tmp_path, *order)) == [(played[i].intro, played[i].turns()) for i in (4, 1)]


def test_files_without_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError, match=r"t\.jsonl: has no two won games of different task types"):
        read_examples(_file(tmp_path, _won(0, "a", 2), _won(1, "a", 3), _won(2, "b", 10)))
    with pytest.raises(TrajectoryError, match="line 2: field split is 'valid_seen'"):
        read_examples(_file(tmp_path, _won(0, "a", 2), _won(1, "b", 3, split="valid_seen")))


def test_an_agent_plays_as_a_chat(generated_games: Path, chatml: Path) -> None:
    """By the rules of every agent: the action filter, the shared prefix, the count of tokens."""
    game = load_game(find_games(generated_games, "train")[0])
    memory = Memory(game.task, game.task_type, "mug", "desk", ("look",), "f" * 64, "g")
    prompts = PromptTokenizer(chatml)
    prefix = ChatTokenizer(prompts).prefix(EXAMPLES)
    ended = []
    for context in (len(prefix) + 1, 100_000):
        engine = FakeEngine(random_opinion(300), 300, context)
        agent = Agent(engine, prompts, "student:x", "constrained", Retriever([memory]), 1, 3, chat_examples=EXAMPLES)
        assert engine.open[0].tokens == tuple(prefix)
        played = agent.play(game)
        ended.append((played.ended, len(played.commands)))
        assert len(engine.open) == 1 and played.memories == (memory,)
    assert ended == [("context", 0), ("steps", 3)]
    assert played.prefilled > 0 and memory.text() in prompts.decode(engine.closed[0])
    with pytest.raises(ContextFull):
        Agent(FakeEngine(random_opinion(300), 300, 100), prompts, "", "constrained", chat_examples=EXAMPLES)
    with pytest.raises(ValueError, match="constrained, not free"):
        Agent(FakeEngine(random_opinion(300), 300), prompts, "", "free", chat_examples=EXAMPLES)


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_the_choice_is_that_of_all_means(levels: int | None) -> None:
    rng = np.random.default_rng(5)
    for seed in range(60):
        engine = FakeEngine(random_opinion(6, seed, levels), 6)
        session = engine.session()
        logits = session.prefill([1, 2])
        continuations = [[*rng.integers(0, 5, rng.integers(0, 6)), 5] for _ in range(8)]
        means = score(session, logits, continuations) / [len(c) for c in continuations]
        chosen = choose_by_mean(session, logits, continuations)
        assert np.isclose(means[chosen], means.max(), rtol=1e-12) and session.tokens == (1, 2)


def test_of_equal_means_the_first_is_chosen() -> None:
    engine = FakeEngine(lambda tokens: np.zeros(4, np.float32), 4)
    session = engine.session()
    assert choose_by_mean(session, session.prefill([0]), [[1, 3], [2, 1, 3], [2, 1, 3], [3]]) == 0


def test_unlikely_continuations_are_not_run() -> None:
    engine = FakeEngine(lambda tokens: np.array([0, 30, 0, 0], np.float32), 4)
    calls: list[int] = []
    session = engine.session()
    logits = session.prefill([0])
    session.decode = lambda token: (calls.append(token), type(session).decode(session, token))[1]
    assert choose_by_mean(session, logits, [[2, 2, 2, 2, 3], [1, 1], [3, 2, 3]]) == 1
    assert calls == [1]


@pytest.mark.parametrize("continuations", [[], [[1], []]])
def test_nothing_to_choose_from(continuations: list[list[int]]) -> None:
    session = FakeEngine(random_opinion(4), 4).session()
    with pytest.raises(ValueError, match="at least one"):
        choose_by_mean(session, session.prefill([0]), continuations)
