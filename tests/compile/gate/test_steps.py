"""The recorded steps: what is in the shipped file, and how they become tokens and figures."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from duomem.compile.gate.steps import FORCED, STEPS_FILE, Choices, RecordedEpisode, RecordedStep, compared, read_steps
from duomem.core.files import sha256_file
from duomem.core.trajectory import Trajectory, read_trajectories
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.alfworld.goal import TASK_TYPES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def recorded() -> list[Trajectory]:
    return list(read_trajectories(STEPS_FILE))


def test_the_file_holds_200_steps_of_all_families(recorded: list[Trajectory]) -> None:
    steps = Counter({task_type: 0 for task_type in TASK_TYPES})
    for trajectory in recorded:
        assert trajectory.split == "train" and trajectory.player.startswith("expert/")
        assert all(step.action in step.admissible and not step.is_noise for step in trajectory.steps)
        steps[trajectory.task_type] += len(trajectory.steps)
    assert steps.total() == 200 and min(steps.values()) >= 20
    assert all(trajectory.won for trajectory in recorded[:-1])
    assert len({trajectory.game for trajectory in recorded}) == len(recorded)


@pytest.mark.skipif(importlib.util.find_spec("alfworld") is None, reason="alfworld is not installed")
def test_the_script_gives_the_same_bytes_and_no_validation_game(recorded: list[Trajectory], tmp_path: Path) -> None:
    from duomem.train.games.generate import generate
    from duomem.train.games.layouts import UNSEEN_PLANS

    script = ROOT / "scripts" / "record_parity_steps.py"
    subprocess.run([sys.executable, script, "--out", tmp_path / "steps.jsonl"], check=True, timeout=300)
    assert (tmp_path / "steps.jsonl").read_bytes() == STEPS_FILE.read_bytes()
    for _ in generate(tmp_path / "games", 20261122, {"train": 0, "valid_seen": 60, "valid_unseen": 60}):
        pass
    valid = [game for split in ("valid_seen", "valid_unseen") for game in find_games(tmp_path / "games", split)]
    assert len(valid) == 120 and not {t.game for t in recorded} & {sha256_file(game) for game in valid}
    assert not {int(t.group.rsplit("-", 1)[1]) for t in recorded} & UNSEEN_PLANS


def test_no_recorded_game_is_an_official_validation_game(recorded: list[Trajectory], real_games: list[Path]) -> None:
    assert not {t.game for t in recorded} & {sha256_file(game) for game in real_games}
    intros = {AlfworldEnv().reset(load_game(game)).text for game in real_games}
    assert intros and not {t.intro for t in recorded} & intros


def test_steps_are_the_prompt_s_tokens(recorded: list[Trajectory], byte_tokenizer: Path) -> None:
    tokenizer = PromptTokenizer(byte_tokenizer)
    episodes = read_steps(STEPS_FILE, tokenizer, 1 << 20)
    assert len(episodes) == len(recorded) and sum(len(e.steps) for e in episodes) == 200
    for trajectory, episode in zip(recorded, episodes, strict=True):
        whole = [t for s in tokenizer.episode(trajectory.intro, trajectory.turns()) for t in s.tokens]
        assert list(episode.tokens) == whole
        assert list(episode.tokens[: episode.shared]) == tokenizer.system()
        for recorded_step, step in zip(trajectory.steps, episode.steps, strict=True):
            action = episode.tokens[step.at : step.at + len(step.allowed)]
            assert list(action) == tokenizer.action(recorded_step.action)
            for i, allowed in enumerate(step.allowed):
                commands = [tokenizer.action(c) for c in recorded_step.admissible]
                assert set(allowed) == {c[i] for c in commands if c[:i] == list(action[:i]) and len(c) > i}
        assert RecordedEpisode.from_json(episode.to_json()) == episode


def test_a_short_context_keeps_the_steps_that_fit(byte_tokenizer: Path) -> None:
    tokenizer = PromptTokenizer(byte_tokenizer)
    whole, cut = (read_steps(STEPS_FILE, tokenizer, context) for context in (1 << 20, 600))
    assert 0 < sum(len(e.steps) for e in cut) < 200
    assert all(len(e.tokens) <= 600 for e in cut)
    long = {e.tokens[:300]: e for e in whole}
    assert all(e.steps == long[e.tokens[:300]].steps[: len(e.steps)] for e in cut)
    assert read_steps(STEPS_FILE, tokenizer, 64) == []


def test_choices_and_margins() -> None:
    choices = Choices()
    logits = np.array([[0.0, 3.0, 1.0, 9.0], [5.0, 0.0, 0.0, 1.0]], np.float32)
    choices.add(RecordedStep(7, ((0, 1, 2), (3,))), logits)
    assert choices.constrained == [[1, 3]] and choices.free == [[3, 0]]
    assert choices.margins == [[2.0, FORCED]]


@pytest.mark.parametrize(
    ("recorded", "chosen", "n"), [([1, 2, 3], [1, 2, 3], 3), ([1, 2, 3], [1, 9, 3], 2), ([1, 2, 3], [9, 2, 3], 1)]
)
def test_a_step_counts_up_to_the_first_departure(recorded: list[int], chosen: list[int], n: int) -> None:
    assert compared(recorded, chosen) == n
