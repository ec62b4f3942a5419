"""The agent plays what the student says, shows it exactly what it was trained on, and leaves no session open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine, Opinion, random_opinion, set_on

from duomem.core.errors import UserError
from duomem.core.scene import kinds_of, receptacles
from duomem.core.trajectory import Trajectory
from duomem.device.agent.action_filter import ActionFilter
from duomem.device.agent.agent import PROTOCOLS, Agent, Episode
from duomem.device.agent.choice import BEGINNING, Choice
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.agent.recall import recall
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.annotations import tell
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.overlay import Overlay
from duomem.memory_packs.pack import write_pack
from duomem.memory_packs.retriever import Retriever
from duomem.train.dataset import EpisodeDataset
from duomem.train.memory_sampler import MemorySampler
from duomem.train.teachers.teach import play_expert

VOCAB = {"byte_tokenizer": 300, "smollm2": 49152}


@pytest.fixture(scope="module")
def games(generated_games: Path) -> list[Game]:
    return [load_game(path) for path in find_games(generated_games, "train")]


@pytest.fixture(scope="module")
def game(games: list[Game]) -> Game:
    return games[0]


@pytest.fixture
def tokenizer(byte_tokenizer: Path) -> PromptTokenizer:
    return PromptTokenizer(byte_tokenizer)


def _expert(game: Game) -> Trajectory:
    played = play_expert(game, {}, "train", 100)
    assert played.won
    return played


def _stream(tokenizer: PromptTokenizer, trajectory: Trajectory, memories: Sequence[str] = ()) -> list[int]:
    """The tokens training makes of an episode."""
    dataset = EpisodeDataset([trajectory], MemorySampler([], 0, 0), tokenizer, 0, 100_000)
    return list(dataset._encode(trajectory, memories).tokens)


def _play(
    engine: FakeEngine,
    tokenizer: PromptTokenizer,
    game: Game,
    protocol: str = "constrained",
    **options: Any,
) -> Episode:
    agent = Agent(engine, tokenizer, "student:test", protocol, **options)
    episode = agent.play(game, "train")
    assert len(engine.open) == 1 and engine.open[0].tokens == tuple(tokenizer.system())
    agent.close()
    assert not engine.open
    return episode


@pytest.mark.parametrize("protocol", ["constrained", "free"])
@pytest.mark.parametrize("kind", list(VOCAB))
@pytest.mark.parametrize("with_memory", [True, False])
def test_playing_feeds_the_tokens_training_saw(
    games: list[Game], kind: str, protocol: str, with_memory: bool, request: pytest.FixtureRequest
) -> None:
    tokenizer = PromptTokenizer(request.getfixturevalue(kind))
    expert = next(t for t in map(_expert, games) if all(s.action in s.admissible for s in t.steps))
    game = next(g for g in games if g.digest == expert.game)
    memories = [write_memory(t) for t in map(_expert, games[:9]) if t.game != game.digest] if with_memory else []
    shown = recall(Retriever(memories), expert.intro, 1, game.digest)
    assert len(shown) == with_memory
    stream = _stream(tokenizer, expert, [m.text() for m in shown])
    engine = FakeEngine(set_on(stream, VOCAB[kind]), VOCAB[kind])
    episode = _play(engine, tokenizer, game, protocol, retriever=Retriever(memories), k=1, max_steps=100)
    assert episode.trajectory == replace(expert, player="student:test")
    assert episode.ended == "won" and episode.memories == shown
    held = engine.closed[0]
    assert list(held) == stream[: len(held)]
    last = tokenizer.action(expert.steps[-1].action)
    assert len(stream) - len(last) <= len(held) < len(stream)
    assert _stream(tokenizer, episode.trajectory, [m.text() for m in shown]) == stream


def test_without_the_reminder_the_student_is_not_told_what_it_has_not_seen(
    game: Game, tokenizer: PromptTokenizer
) -> None:
    texts: list[str] = []
    for reminder in (True, False):
        engine = FakeEngine(random_opinion(300), 300)
        _play(engine, tokenizer, game, reminder=reminder, action_filter=False, max_steps=30)
        texts.append(tokenizer.decode(engine.closed[0]))
    assert "Not seen yet: " in texts[0] and "Not seen yet: " not in texts[1]


def test_every_token_is_run_once_but_for_scoring(game: Game, tokenizer: PromptTokenizer) -> None:
    expert = _expert(game)
    stream = _stream(tokenizer, expert)
    engine = FakeEngine(set_on(stream, 300), 300)
    episode = _play(engine, tokenizer, game, "free", max_steps=100)
    assert len(tokenizer.system()) + episode.prefilled + episode.decoded == len(engine.closed[0])


def test_the_student_alone_decides(game: Game, tokenizer: PromptTokenizer) -> None:
    """Another student, other commands; the same one, the same; each is the likeliest of the admissible."""
    played = [
        [
            s.action
            for s in _play(FakeEngine(random_opinion(300, seed), 300), tokenizer, game, max_steps=6).trajectory.steps
        ]
        for seed in (1, 1, 2)
    ]
    assert played[0] == played[1] != played[2]


def test_an_episode_that_runs_out_of_steps(game: Game, tokenizer: PromptTokenizer) -> None:
    episode = _play(FakeEngine(random_opinion(300), 300), tokenizer, game, max_steps=4)
    assert len(episode.trajectory.steps) == 4 and not episode.trajectory.won and episode.ended == "steps"
    assert all(s.action in s.admissible for s in episode.trajectory.steps)
    assert (episode.trajectory.split, episode.trajectory.player) == ("train", "student:test")
    assert (episode.trajectory.game, episode.trajectory.goal) == (game.digest, game.task)


@pytest.mark.parametrize("protocol", ["constrained", "free"])
def test_a_full_context_ends_the_episode_as_lost(game: Game, tokenizer: PromptTokenizer, protocol: str) -> None:
    head = len(tokenizer.system()) + len(tokenizer.head(AlfworldEnv().reset(game).text))
    for space in (-1, 0, 2, 150, 300):
        engine = FakeEngine(random_opinion(300), 300, context_length=head + space)
        episode = _play(engine, tokenizer, game, protocol)
        assert episode.ended == "context" and not episode.trajectory.won
        assert len(engine.closed[0]) <= head + space
        assert len(episode.trajectory.turns()) == len(episode.trajectory.steps)
    assert episode.trajectory.steps


class _BrokenEnv(AlfworldEnv):
    def step(self, command: str) -> Observation:
        raise KeyboardInterrupt


def test_no_session_stays_open_after_an_exception(game: Game, tokenizer: PromptTokenizer) -> None:
    engine = FakeEngine(random_opinion(300), 300)
    agent = Agent(engine, tokenizer, "", "constrained")
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            agent.play(game, "train", _BrokenEnv())
    assert len(engine.open) == 1
    assert agent.play(game, "train").trajectory.steps


class _NotAlfworld(AlfworldEnv):
    def reset(self, game: Game) -> Observation:
        return replace(super().reset(game), text="You see: you see a fish. Your task is to: sing.")


def test_no_session_stays_open_after_an_intro_it_cannot_read(game: Game, tokenizer: PromptTokenizer) -> None:
    engine = FakeEngine(random_opinion(300), 300)
    agent = Agent(engine, tokenizer, "", "free")
    for _ in range(3):
        with pytest.raises(UserError, match="a place without a number"):
            agent.play(game, "train", _NotAlfworld())
        with pytest.raises(UserError, match="a place without a number"):
            agent.policy(_NotAlfworld().reset(game).text, game.digest)
    assert len(engine.open) == 1


def test_the_system_text_is_prefilled_once(
    games: list[Game], tokenizer: PromptTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(random_opinion(300), 300)
    agent = Agent(engine, tokenizer, "", "free", max_steps=1)
    monkeypatch.setattr(engine, "session", lambda: pytest.fail("a new session instead of a fork"))
    for game in games[:3]:
        episode = agent.play(game, "train")
        assert episode.prefilled == len(tokenizer.head(episode.trajectory.intro))


def _says(tokenizer: PromptTokenizer, text: str) -> Opinion:
    """A student that answers every > with `text`."""
    prompt, tokens = tuple(tokenizer.encode("\n>")), tokenizer.encode(text)

    def opinion(context: tuple[int, ...]) -> np.ndarray:
        logits = np.zeros(300, np.float32)
        for n, token in enumerate(tokens):
            if context[-n - len(prompt) :] == (*prompt, *tokens[:n]):
                logits[token] = 9
        return logits

    return opinion


@pytest.mark.parametrize("junk", ["\n", " \n", " sing loudly\n", " go to nowhere 1\n", " \t\x00\n", "> > >\n"])
def test_a_failed_command_stays_in_the_history(game: Game, tokenizer: PromptTokenizer, junk: str) -> None:
    engine = FakeEngine(_says(tokenizer, junk), 300)
    episode = _play(engine, tokenizer, game, "free", max_steps=3, action_filter=False)
    assert [s.action for s in episode.trajectory.steps] == [junk.strip()] * 3
    assert [o for _, o in episode.trajectory.turns()] == ["Nothing happens."] * 3
    history = tokenizer.decode(engine.closed[0])
    assert history.count(f">{junk}Nothing happens. Not seen yet: ") == 2 and not episode.trajectory.won


def test_a_command_without_an_end_is_cut(game: Game, tokenizer: PromptTokenizer) -> None:
    engine = FakeEngine(lambda tokens: np.eye(1, 300, 65, dtype=np.float32)[0], 300)
    episode = _play(engine, tokenizer, game, "free", max_steps=2, action_filter=False)
    written = tokenizer.decode([65] * 24)
    assert [s.action for s in episode.trajectory.steps] == [written] * 2
    assert f">{written}\nNothing happens. Not seen yet: " in tokenizer.decode(engine.closed[0])


def test_tokens_without_text_cost_a_step(game: Game, tokenizer: PromptTokenizer) -> None:
    """Ids beyond the tokenizer's (an end-of-text token) decode to nothing."""
    engine = FakeEngine(lambda tokens: np.eye(1, 300, 299, dtype=np.float32)[0], 300)
    episode = _play(engine, tokenizer, game, "free", max_steps=2, action_filter=False)
    assert [s.action for s in episode.trajectory.steps] == ["", ""]


@pytest.mark.parametrize("protocol", ["constrained", "free"])
def test_repeated_commands_are_withheld(game: Game, tokenizer: PromptTokenizer, protocol: str) -> None:
    """A student that only ever wants to look: each thing it says instead is new, or brings something new."""
    looks = _says(tokenizer, " look\n")
    played = {
        action_filter: _play(
            FakeEngine(looks, 300), tokenizer, game, protocol, max_steps=6, action_filter=action_filter
        )
        for action_filter in (False, True)
    }
    assert [s.action for s in played[False].trajectory.steps] == ["look"] * 6
    action_filter = ActionFilter(played[True].trajectory.intro)
    for command, brought in played[True].trajectory.turns():
        assert command not in action_filter
        action_filter.observe(command, brought)
    assert [s.action for s in played[True].trajectory.steps].count("look") < 6


def test_where_all_commands_are_withheld_one_is_given(game: Game, tokenizer: PromptTokenizer) -> None:
    class _Corner(AlfworldEnv):
        def step(self, command: str) -> Observation:
            return replace(super().step("dance"), admissible=("look",))

    agent = Agent(FakeEngine(_says(tokenizer, " look\n"), 300), tokenizer, "", "constrained", max_steps=4)
    assert [s.action for s in agent.play(game, "train", _Corner()).trajectory.steps] == ["look"] * 4


def test_a_memory_of_the_very_game_is_never_shown(games: list[Game], tokenizer: PromptTokenizer) -> None:
    memories = [
        Memory(g.task, g.task_type, g.goal.object_type, g.goal.target_type, (f"step of {g.digest}",), g.digest, "")
        for g in games
    ]
    for game in games[:6]:
        shown: list[Memory] = []
        engine = FakeEngine(random_opinion(300), 300)
        agent = Agent(engine, tokenizer, "", "constrained", Retriever(memories), k=len(games), max_steps=1)
        agent.play(game, "train", on_start=lambda intro, found, shown=shown: shown.extend(found))
        assert shown and game.digest not in {m.game for m in shown}
        assert game.digest not in tokenizer.decode(engine.closed[0])
        assert shown[0].text() in tokenizer.decode(engine.closed[0])


def test_a_memory_that_another_game_supports_too_is_shown(games: list[Game]) -> None:
    intro = AlfworldEnv().reset(games[0]).text
    memory = Memory(games[0].task, "f", "", "", ("look",), games[0].digest, "")
    for others, shown in (((), ()), ((("another", ""),), (memory.id,))):
        found = recall(Retriever([replace(memory, others=others)]), intro, 3, games[0].digest)
        assert tuple(m.id for m in found) == shown


def test_as_many_memories_as_asked_for(games: list[Game], tokenizer: PromptTokenizer) -> None:
    memories = [Memory(games[0].task, "f", "", "", ("look",), str(i), "") for i in range(5)]
    for k in (1, 3):
        episode = _play(
            FakeEngine(random_opinion(300), 300), tokenizer, games[0], retriever=Retriever(memories), k=k, max_steps=1
        )
        assert [m.game for m in episode.memories] == [str(i) for i in range(k)]
    assert _play(FakeEngine(random_opinion(300), 300), tokenizer, games[0], max_steps=1).memories == ()


def test_memories_are_found_by_meaning_in_this_room(games: list[Game], tokenizer: PromptTokenizer) -> None:
    """The places of the first observation tell which goals the words may mean."""
    game = tell(games[0], "leave the beaker wherever")
    here = kinds_of(receptacles(AlfworldEnv().reset(game).text))
    memories = [
        Memory("xyzzy.", "pick_and_place_simple", "mug", target, ("look",), target, "")
        for target in ("nowhere", here[0])
    ]
    lexicon = Lexicon([["pick_and_place_simple"], ["mug"], sorted(["nowhere", here[0]])], {})
    for k in (1, 2):
        engine = FakeEngine(random_opinion(300), 300)
        episode = _play(engine, tokenizer, game, retriever=Retriever(memories, lexicon), k=k, max_steps=1)
        assert [m.target_type for m in episode.memories] == [here[0]]
        assert (episode.trajectory.goal, episode.trajectory.goal_source) == (game.task, "own")
        assert episode.trajectory.template_goal == games[0].task and game.task in tokenizer.decode(engine.closed[0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_watching_sees_every_step(game: Game, tokenizer: PromptTokenizer, protocol: str) -> None:
    seen: list[tuple[str, str, Choice | None]] = []
    agent = Agent(FakeEngine(random_opinion(300), 300), tokenizer, "", protocol, max_steps=3)
    episode = agent.play(game, "train", on_step=lambda command, o, choice: seen.append((command, o.text, choice)))
    assert [(command, text) for command, text, _ in seen] == episode.trajectory.turns()
    assert tuple(choice for *_, choice in seen) == episode.choices and len(episode.choices) == 3
    for step, choice in zip(episode.trajectory.steps, episode.choices, strict=True):
        assert set(choice.withheld) < set(step.admissible) and choice.seconds > 0
        if protocol == "constrained":
            assert choice.candidates[0][0] == step.action or choice.candidates[0][0].endswith(BEGINNING)
            beginnings = [text.removesuffix(BEGINNING) for text, _ in choice.candidates]
            left = set(step.admissible) - set(choice.withheld)
            assert all(any(command.startswith(text) for command in left) for text in beginnings)


def test_an_unknown_protocol(tokenizer: PromptTokenizer) -> None:
    with pytest.raises(ValueError, match="protocol 'greedy'"):
        Agent(FakeEngine(random_opinion(300), 300), tokenizer, "", "greedy")


def test_an_engine_too_small_for_the_system_text(tokenizer: PromptTokenizer) -> None:
    engine = FakeEngine(random_opinion(300), 300, context_length=10)
    with pytest.raises(UserError):
        Agent(engine, tokenizer, "", "free")
    assert not engine.open


def test_with_an_overlay_it_learns(games: list[Game], tokenizer: PromptTokenizer, tmp_path: Path) -> None:
    expert = _expert(games[0])
    memory = replace(write_memory(_expert(games[1])), task=expert.template_goal)
    pack = write_pack(tmp_path / "a.dmpack", "n", "expert/1", "", [memory, replace(memory, steps=("look",))])
    overlay = Overlay(tmp_path / "o.jsonl", pack)
    options: dict[str, Any] = {"retriever": pack.retriever, "overlay": overlay, "k": 1}
    for _ in range(3):
        lost = _play(FakeEngine(random_opinion(300), 300), tokenizer, games[0], max_steps=1, **options)
        assert lost.memories == (memory,)
    shown = pack.memories[1]
    stream = _stream(tokenizer, expert, [shown.text()])
    won = _play(FakeEngine(set_on(stream, 300), 300), tokenizer, games[0], max_steps=100, **options)
    assert won.won and won.memories == (shown,)
    for read in (overlay, Overlay(overlay.path, pack)):
        assert read.counts() == dict(sorted({memory.id: (3, 0), shown.id: (1, 1)}.items()))
        assert read.memories == (write_memory(won.trajectory),)
