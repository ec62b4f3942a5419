"""Training examples: the student's tokens are the commands and nothing else; memories are of other games."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from duomem.core.trajectory import Trajectory
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import write_memory
from duomem.train.dataset import EpisodeDataset, Example
from duomem.train.memory_sampler import MemorySampler
from duomem.train.teachers.teach import play_expert

ALL = 10**6


def _dataset(
    played: Sequence[Trajectory],
    memories: Sequence[Memory],
    tokenizer: PromptTokenizer,
    share: float = 0,
    seed: int = 0,
    max_tokens: int = ALL,
) -> EpisodeDataset:
    return EpisodeDataset(played, MemorySampler(memories, share, 0), tokenizer, seed, max_tokens)


@pytest.fixture(scope="module")
def played(generated_games: Path) -> list[Trajectory]:
    return [play_expert(load_game(path), {}, "train", 99) for path in find_games(generated_games, "train")]


@pytest.fixture(scope="module")
def tokenizer(byte_tokenizer: Path) -> PromptTokenizer:
    return PromptTokenizer(byte_tokenizer)


def _text(tokenizer: PromptTokenizer, example: Example) -> str:
    return tokenizer.decode(example.tokens)


def test_the_student_writes_commands_only(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    dataset = _dataset(played, [], tokenizer, 0.5)
    examples = list(dataset.epoch(0))
    assert len(examples) == len(dataset) == sum(t.won for t in played) >= 17
    written = sorted(tokenizer.decode([t for t, s in zip(e.tokens, e.loss_mask, strict=True) if s]) for e in examples)
    assert written == sorted("".join(f" {s.action}\n" for s in t.steps) for t in played if t.won)
    for example in examples:
        assert example.loss_mask[-1] and not any(example.loss_mask[:100])


def test_mistakes_are_read_but_not_learnt(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    tripped = [replace(t, steps=(replace(t.steps[0], is_noise=True), *t.steps[1:])) for t in played if t.won]
    clean, marked = (_dataset(ts, [], tokenizer) for ts in ([t for t in played if t.won], tripped))
    for a, b in zip(clean.epoch(0), marked.epoch(0), strict=True):
        assert a.tokens == b.tokens
        lost = [t for t, x, y in zip(a.tokens, a.loss_mask, b.loss_mask, strict=True) if x and not y]
        assert tokenizer.decode(lost).startswith(" ") and tokenizer.decode(lost).count("\n") == 1
        assert sum(b.loss_mask) == sum(a.loss_mask) - len(lost)


def test_lost_episodes_are_left_out(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    lost = [replace(t, won=False) for t in played]
    assert len(_dataset([*lost, played[0]], [], tokenizer)) == 1


def test_no_memory_of_the_game_or_of_its_task_in_its_scene(
    played: list[Trajectory], tokenizer: PromptTokenizer
) -> None:
    """Even where there is none but those."""
    own = [
        Memory(t.goal, t.task_type, t.object_type, t.target_type, (f"own {t.game}",), t.game, "elsewhere")
        for t in played
    ]
    twins = [
        Memory(t.goal, t.task_type, t.object_type, t.target_type, (f"own {t.game}",), f"{i:064x}", t.group)
        for i, t in enumerate(played)
    ]
    dataset = _dataset(played[:1], [own[0], twins[0]], tokenizer, 1)
    assert "Memory:" not in _text(tokenizer, next(dataset.epoch(0)))
    dataset = _dataset(played, own + twins, tokenizer, 1)
    by_intro = {t.intro: t for t in played}
    for epoch in range(3):
        for example in dataset.epoch(epoch):
            text = _text(tokenizer, example)
            assert text.count("Memory:") == 1
            goal = text.split("Task: ")[1].split("\n")[0]
            owners = [t for t in by_intro.values() if t.goal == goal]
            assert len(owners) != 1 or f"own {owners[0].game}" not in text


def test_the_share_with_a_memory(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    memories = [write_memory(t) for t in played]
    for share, low, high in ((0.0, 0, 0), (1.0, 1, 1), (0.6, 0.5, 0.7)):
        dataset = _dataset(played, memories, tokenizer, share)
        shown = ["Memory:" in _text(tokenizer, e) for epoch in range(20) for e in dataset.epoch(epoch)]
        assert low <= sum(shown) / len(shown) <= high


def test_the_same_every_time_and_other_every_epoch(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    memories = [write_memory(t) for t in played]

    def examples(seed: int, epoch: int) -> list[Example]:
        return list(_dataset(played, memories, tokenizer, 0.6, seed).epoch(epoch))

    assert examples(0, 0) == examples(0, 0)
    assert examples(0, 0) != examples(0, 1) and examples(0, 0) != examples(1, 0)


def test_long_examples_are_left_out(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    lengths = sorted(len(e.tokens) for e in _dataset(played, [], tokenizer).epoch(0))
    kept = _dataset(played, [], tokenizer, max_tokens=lengths[9])
    assert sorted(len(e.tokens) for e in kept.epoch(0)) == lengths[:10]
