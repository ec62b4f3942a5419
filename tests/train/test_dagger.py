"""DAgger: a student plays first, the expert takes over and wins; nothing the student played is learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeEngine, random_opinion

from duomem.cli.main import main
from duomem.device.agent import evaluate as evaluate_module
from duomem.device.agent.agent import Agent
from duomem.device.agent.evaluate import EvalConfig
from duomem.device.agent.policy import Policy
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.world.env import Observation
from duomem.train.dataset import EpisodeDataset
from duomem.train.memory_sampler import MemorySampler
from duomem.train.teachers.dagger import Dagger
from duomem.train.teachers.priors import combine, count_places
from duomem.train.teachers.teach import play_expert


def _agent(tokenizer: Path, protocol: str, context: int = 100_000) -> tuple[Agent, FakeEngine]:
    engine = FakeEngine(random_opinion(300), 300, context)
    return Agent(engine, PromptTokenizer(tokenizer), "student:test", protocol), engine


@pytest.mark.parametrize("protocol", ["free", "constrained"])
def test_the_expert_takes_over_for_good(generated_games: Path, byte_tokenizer: Path, protocol: str) -> None:
    games = [load_game(path) for path in find_games(generated_games, "train")]
    priors = combine(count_places(game.path) for game in games)
    agent, engine = _agent(byte_tokenizer, protocol)
    played = [play_expert(game, priors, "train", 50, seed=3, agent=agent) for game in games]
    assert played == [play_expert(game, priors, "train", 50, seed=3, agent=agent) for game in games]
    assert len(engine.open) == 1  # the system text's
    for trajectory in played:
        students = [step.is_noise for step in trajectory.steps]
        assert students == sorted(students, reverse=True)
        assert protocol == "free" or all(s.action in s.admissible for s in trajectory.steps if s.is_noise)
    assert any(t.steps[0].is_noise for t in played) and sum(t.won for t in played) > len(played) / 2
    assert {t.player for t in played} == {"expert/2"}


class _Named(Policy):
    """A policy of one command; told: the commands it was told of."""

    def __init__(self, command: str) -> None:
        self._command = command
        self.told: list[str] = []
        self.closed = False

    def act(self, observation: Observation, /) -> str:
        return self._command

    def observe(self, command: str, observation: Observation, /) -> None:
        self.told.append(command)

    def close(self) -> None:
        self.closed = True


def test_the_student_is_told_of_its_own_steps_the_expert_of_all() -> None:
    """And stuck, a student is relieved sooner."""
    lengths: dict[str, list[int]] = {}
    for text in ("You see.", "Nothing happens."):
        for seed in range(60):
            student, expert = _Named("dance"), _Named("look")
            policy, played = Dagger(student, expert, str(seed)), []
            for _ in range(100):
                played.append(policy.act(Observation(text, (), False, False)))
                assert policy.is_noise == (played[-1] == "dance")
                policy.observe(played[-1], Observation(text, (), False, False))
            policy.close()
            assert student.closed and expert.told == played and student.told == [c for c in played if c == "dance"]
            assert played == ["dance"] * len(student.told) + ["look"] * (100 - len(student.told))
            lengths.setdefault(text, []).append(len(student.told))
    assert sum(lengths["Nothing happens."]) < sum(lengths["You see."]) / 4


def test_the_expert_takes_over_where_the_context_is_full(generated_games: Path, byte_tokenizer: Path) -> None:
    game = load_game(find_games(generated_games, "train")[0])
    agent, engine = _agent(byte_tokenizer, "free", context=200)
    assert not any(step.is_noise for step in play_expert(game, {}, "train", 50, seed=0, agent=agent).steps)
    assert len(engine.open) == 1


def test_what_a_student_wins_alone_teaches_nothing(generated_games: Path, byte_tokenizer: Path) -> None:
    won = play_expert(load_game(find_games(generated_games, "train")[0]), {}, "train", 50)
    alone = replace(won, steps=tuple(replace(step, is_noise=True) for step in won.steps))
    assert len(EpisodeDataset([won, alone], MemorySampler([], 0, 0), PromptTokenizer(byte_tokenizer), 0, 10_000)) == 1


def test_the_command(
    generated_games: Path,
    byte_tokenizer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configs: list[EvalConfig] = []

    def load(config: EvalConfig) -> Agent:
        configs.append(config)
        return _agent(byte_tokenizer, config.protocol)[0]

    monkeypatch.setattr(evaluate_module, "load_agent", load)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    arguments = ["teach", "--games", str(generated_games), "--jobs", "1", "--student", str(bundle)]
    assert main([*arguments, "--out", str(tmp_path / "t.jsonl")]) == 0
    assert len(configs) == 1 and configs[0].protocol == "free"
    assert json.loads((tmp_path / "t.jsonl.inputs.json").read_text())["student"]["bundle"]
    assert main([*arguments, "--noise-rate", "0.1", "--out", str(tmp_path / "u.jsonl")]) == 2
    assert "--student: its own mistakes" in capsys.readouterr().err
    (tmp_path / "a.dmpack").touch()
    assert main([*arguments[:-2], "--pack", str(tmp_path / "a.dmpack"), "--out", str(tmp_path / "v.jsonl")]) == 2
    assert "a.dmpack: the expert reads no memories" in capsys.readouterr().err
