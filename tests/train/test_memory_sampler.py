"""Memories in a training episode's context: leave-one-out, shares as asked, synthetic tasks always told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from duomem.core.trajectory import Step, Trajectory
from duomem.memory_packs.memory import Memory
from duomem.train.memory_sampler import MemorySampler


def _memory(task: str, task_type: str, game: str, group: str) -> Memory:
    return Memory(task, task_type, "", "", ("take it",), game, group)


EPISODE = Trajectory(
    "g1",
    "scene1",
    "train",
    "heat",
    "mug",
    "desk",
    "put a hot mug in desk.",
    "template",
    "put a hot mug in desk.",
    "intro",
    (Step("intro", ("look",), "look"),),
    "end",
    True,
    "expert/2",
    0,
)
SYNTHETIC = replace(EPISODE, task_type="synthetic/1", goal="zap the mug.")
MEMORIES = [
    _memory("put a hot mug in desk.", "heat", "g1", "scene1"),
    _memory("put a hot mug in desk.", "heat", "g2", "scene1"),
    _memory("put a hot mug in shelf.", "heat", "g3", "scene2"),
    _memory("put a hot egg in desk.", "heat", "g4", "scene3"),
    _memory("put a clean pan in sink.", "clean", "g5", "scene4"),
    _memory("zap the mug.", "synthetic/1", "g1", "synthetic/1-7"),
    _memory("zap the egg.", "synthetic/1", "g6", "synthetic/1-8"),
    _memory("bop the egg.", "synthetic/2", "g7", "synthetic/2-8"),
]


def _drawn(trajectory: Trajectory, near: float, distractor: float, n: int = 600) -> list[list[Memory]]:
    sampler = MemorySampler(MEMORIES, near, distractor)
    rng = random.Random(0)
    found = [sampler.draw(trajectory, rng) for _ in range(n)]
    assert all(memories is not None for memories in found)
    return [memories for memories in found if memories is not None]


def test_never_of_the_same_game_or_scene() -> None:
    drawn = {m.game for memories in _drawn(EPISODE, 1.0, 0.0) for m in memories}
    assert drawn == {"g3", "g4", "g5"}
    for episode in (EPISODE, SYNTHETIC):
        distractors = {m.game for memories in _drawn(episode, 0.0, 1.0) for m in memories}
        assert "g1" not in distractors and {"g5", "g7"} <= distractors


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_chance_of_a_memory(share: float) -> None:
    assert sum(map(bool, _drawn(EPISODE, share, 0.0))) / 600 == pytest.approx(share, abs=0.07)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_chance_of_a_distractor(share: float) -> None:
    """Three of the eight memories here are of another task type than heat and of another game."""
    drawn = _drawn(EPISODE, 0.0, share)
    assert all(m.task_type != "heat" for memories in drawn for m in memories)
    assert sum(map(bool, drawn)) / 600 == pytest.approx(share * 3 / 8, abs=0.07)


def test_corrupted_memories_are_near_ones() -> None:
    """As many as asked for, each in one way; what is near stays so, and a synthetic task is told the truth."""
    steps = ("search desk", "take mug", "heat mug", "move mug")
    near = [replace(m, steps=steps) if m.task_type == "heat" else m for m in MEMORIES]
    for share in (0.0, 0.4, 1.0):
        sampler, rng = MemorySampler(near, 1.0, 0.0, share), random.Random(0)
        drawn = [m for _ in range(600) for m in sampler.draw(EPISODE, rng) or () if m.game in ("g3", "g4")]
        corrupted = [m for m in drawn if m.steps != steps]
        assert len(corrupted) / len(drawn) == pytest.approx(share, abs=0.07)
        kinds = {(len(m.steps), sorted(m.steps) == sorted(steps)) for m in corrupted}
        assert kinds == ({(3, False), (4, True), (4, False)} if share else set())
    synthetic, rng = MemorySampler(near, 1.0, 0.0, 1.0), random.Random(0)
    assert {m.steps for _ in range(50) for m in synthetic.draw(SYNTHETIC, rng) or ()} == {("take it",)}


def test_a_distractor_comes_first_or_last() -> None:
    both = [m for m in _drawn(SYNTHETIC, 0.0, 1.0) if len(m) == 2]
    firsts = {memories[0].task_type == "synthetic/1" for memories in both}
    assert firsts == {True, False}


def test_a_synthetic_task_is_always_told_its_own_template() -> None:
    for memories in _drawn(SYNTHETIC, 0.0, 0.3):
        assert [m.game for m in memories if m.task_type == "synthetic/1"] == ["g6"]


def test_a_synthetic_task_without_another_memory_is_left_out() -> None:
    lonely = [m for m in MEMORIES if m.game != "g6"]
    assert MemorySampler(lonely, 1.0, 0.0).draw(SYNTHETIC, random.Random(0)) is None


def test_without_memories_nothing_is_drawn() -> None:
    assert MemorySampler([], 1.0, 1.0).draw(EPISODE, random.Random(0)) == []
