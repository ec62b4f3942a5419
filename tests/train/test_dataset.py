"""Training examples: the student's tokens are the commands and nothing else; memories are of other games."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from duomem.base.errors import UserError
from duomem.base.trajectory import Trajectory
from duomem.device.alfworld.catalogue import find_games
from duomem.device.alfworld.game import load_game
from duomem.device.prompt import PromptTokenizer
from duomem.memory_packs.memory import Memory, write_memory
from duomem.train.dataset import EpisodeDataset, Example, batches
from duomem.train.teachers.teach import play_expert

ALL = 10**6


@pytest.fixture(scope="module")
def played(generated_games: Path) -> list[Trajectory]:
    return [play_expert(load_game(path), {}, "train", 99) for path in find_games(generated_games, "train")]


@pytest.fixture(scope="module")
def tokenizer(byte_tokenizer: Path) -> PromptTokenizer:
    return PromptTokenizer(byte_tokenizer)


def _text(tokenizer: PromptTokenizer, example: Example) -> str:
    return tokenizer.decode(example.tokens)


def test_the_student_writes_commands_only(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    dataset = EpisodeDataset(played, [], tokenizer, 0.5, 0, ALL)
    examples = list(dataset.epoch(0))
    assert len(examples) == len(dataset) == sum(t.won for t in played) >= 17
    written = sorted(tokenizer.decode([t for t, s in zip(e.tokens, e.student, strict=True) if s]) for e in examples)
    assert written == sorted("".join(f" {s.action}\n" for s in t.steps) for t in played if t.won)
    for example in examples:
        assert example.student[-1] and not any(example.student[:100])


def test_mistakes_are_read_but_not_learnt(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    tripped = [replace(t, steps=(replace(t.steps[0], stumble=True), *t.steps[1:])) for t in played if t.won]
    clean, marked = (EpisodeDataset(ts, [], tokenizer, 0, 0, ALL) for ts in ([t for t in played if t.won], tripped))
    for a, b in zip(clean.epoch(0), marked.epoch(0), strict=True):
        assert a.tokens == b.tokens
        lost = [t for t, x, y in zip(a.tokens, a.student, b.student, strict=True) if x and not y]
        assert tokenizer.decode(lost).startswith(" ") and tokenizer.decode(lost).count("\n") == 1
        assert sum(b.student) == sum(a.student) - len(lost)


def test_lost_episodes_are_left_out(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    lost = [replace(t, won=False) for t in played]
    assert len(EpisodeDataset([*lost, played[0]], [], tokenizer, 0, 0, ALL)) == 1


def test_no_memory_of_the_game_or_of_its_task_in_its_room(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    """Even where there is none but those."""
    own = [Memory(t.goal, t.family, (f"own {t.game}",), t.game, "elsewhere") for t in played]
    twins = [Memory(t.goal, t.family, (f"own {t.game}",), f"{i:064x}", t.group) for i, t in enumerate(played)]
    dataset = EpisodeDataset(played[:1], [own[0], twins[0]], tokenizer, 1.0, 0, ALL)
    assert "Memory:" not in _text(tokenizer, next(dataset.epoch(0)))
    dataset = EpisodeDataset(played, own + twins, tokenizer, 1.0, 0, ALL)
    by_intro = {t.intro: t for t in played}
    for epoch in range(3):
        for near, trajectory in zip(dataset._near, dataset._trajectories, strict=True):
            assert near and all(m.game != trajectory.game and m.group != trajectory.group for m in near)
        for example in dataset.epoch(epoch):
            text = _text(tokenizer, example)
            assert text.count("Memory:") == 1
            goal = text.split("Task: ")[1].split("\n")[0]
            owners = [t for t in by_intro.values() if t.goal == goal]
            assert len(owners) != 1 or f"own {owners[0].game}" not in text


def test_the_share_with_a_memory(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    memories = [write_memory(t) for t in played]
    for share, low, high in ((0.0, 0, 0), (1.0, 1, 1), (0.6, 0.5, 0.7)):
        dataset = EpisodeDataset(played, memories, tokenizer, share, 0, ALL)
        shown = ["Memory:" in _text(tokenizer, e) for epoch in range(20) for e in dataset.epoch(epoch)]
        assert low <= sum(shown) / len(shown) <= high


def test_the_same_every_time_and_other_every_epoch(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    memories = [write_memory(t) for t in played]

    def examples(seed: int, epoch: int) -> list[Example]:
        return list(EpisodeDataset(played, memories, tokenizer, 0.6, seed, ALL).epoch(epoch))

    assert examples(0, 0) == examples(0, 0)
    assert examples(0, 0) != examples(0, 1) and examples(0, 0) != examples(1, 0)


def test_long_examples_are_left_out(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    lengths = sorted(len(e.tokens) for e in EpisodeDataset(played, [], tokenizer, 0, 0, ALL).epoch(0))
    kept = EpisodeDataset(played, [], tokenizer, 0, 0, lengths[9])
    assert sorted(len(e.tokens) for e in kept.epoch(0)) == lengths[:10]
    with pytest.raises(UserError, match="raise field max_tokens"):
        next(batches(EpisodeDataset(played, [], tokenizer, 0, 0, 10), 4, 2, 0))


def test_batches_hold_every_example_once_an_epoch(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    won = [t for t in played if t.won][:16]
    dataset = EpisodeDataset(won, [write_memory(t) for t in won], tokenizer, 0.6, 0, ALL)
    first = list(itertools.islice(batches(dataset, 4, 2, 0), 8))
    assert [len(batch) for batch in first] == [4] * 8
    for epoch in (0, 1):
        flat = [e for batch in first[4 * epoch:4 * epoch + 4] for e in batch]
        assert sorted(flat, key=lambda e: e.tokens) == sorted(dataset.epoch(epoch), key=lambda e: e.tokens)
    assert first == list(itertools.islice(batches(dataset, 4, 2, 0), 8)) != list(
        itertools.islice(batches(dataset, 4, 2, 1), 8))


def test_a_batch_larger_than_the_dataset(played: list[Trajectory], tokenizer: PromptTokenizer) -> None:
    dataset = EpisodeDataset(played[:3], [], tokenizer, 0, 0, ALL)
    assert [len(b) for b in itertools.islice(batches(dataset, 8, 4, 0), 3)] == [8, 8, 8]
