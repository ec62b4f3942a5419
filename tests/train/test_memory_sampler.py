"""Memories in a training episode's context: leave-one-out, shares as asked, synthetic tasks always told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from duomem.core.trajectory import Step, Trajectory
from duomem.memory_packs.memory import Memory
from duomem.train.memory_sampler import MemorySampler


def _memory(task: str, task_type: str, game: str, group: str) -> Memory:
    return Memory(task, task_type, ("take it",), game, group)


EPISODE = Trajectory(
    "g1",
    "room1",
    "train",
    "heat",
    "put a hot mug in desk.",
    "intro",
    (Step("intro", ("look",), "look"),),
    "end",
    True,
    "expert/2",
    0,
)
INVENTED = replace(EPISODE, task_type="synthetic/1", goal="zap the mug.")
MEMORIES = [
    _memory("put a hot mug in desk.", "heat", "g1", "room1"),
    _memory("put a hot mug in desk.", "heat", "g2", "room1"),
    _memory("put a hot mug in shelf.", "heat", "g3", "room2"),
    _memory("put a hot egg in desk.", "heat", "g4", "room3"),
    _memory("put a clean pan in sink.", "clean", "g5", "room4"),
    _memory("zap the mug.", "synthetic/1", "g1", "synthetic/1-7"),
    _memory("zap the egg.", "synthetic/1", "g6", "synthetic/1-8"),
    _memory("bop the egg.", "synthetic/2", "g7", "synthetic/2-8"),
]


def _drawn(trajectory: Trajectory, right: float, wrong: float, n: int = 600) -> list[list[Memory]]:
    draw = MemorySampler(MEMORIES, right, wrong)
    rng = random.Random(0)
    found = [draw.draw(trajectory, rng) for _ in range(n)]
    assert all(memories is not None for memories in found)
    return [memories for memories in found if memories is not None]


def test_never_of_the_same_game_or_room() -> None:
    drawn = {m.game for memories in _drawn(EPISODE, 1.0, 0.0) for m in memories}
    assert drawn == {"g3", "g4", "g5"} or drawn == {"g3", "g4"}
    for episode in (EPISODE, INVENTED):
        wrong = {m.game for memories in _drawn(episode, 0.0, 1.0) for m in memories}
        assert "g1" not in wrong and {"g5", "g7"} <= wrong


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_right_memories(share: float) -> None:
    assert sum(map(bool, _drawn(EPISODE, share, 0.0))) / 600 == pytest.approx(share, abs=0.07)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_wrong_memories(share: float) -> None:
    """Three of the eight memories here are of another task type than heat and of another game."""
    drawn = _drawn(EPISODE, 0.0, share)
    assert all(m.task_type != "heat" for memories in drawn for m in memories)
    assert sum(map(bool, drawn)) / 600 == pytest.approx(share * 3 / 8, abs=0.07)


def test_noisy_memories_are_the_near_ones_spoilt() -> None:
    """As many as asked for, each in one way; what is near stays so, and a synthetic task is told the truth."""
    steps = ("search desk", "take mug", "heat mug", "move mug")
    near = [replace(m, steps=steps) if m.task_type == "heat" else m for m in MEMORIES]
    for share in (0.0, 0.4, 1.0):
        draw, rng = MemorySampler(near, 1.0, 0.0, share), random.Random(0)
        drawn = [m for _ in range(600) for m in draw.draw(EPISODE, rng) or () if m.game in ("g3", "g4")]
        spoilt = [m for m in drawn if m.steps != steps]
        assert len(spoilt) / len(drawn) == pytest.approx(share, abs=0.07)
        kinds = {(len(m.steps), sorted(m.steps) == sorted(steps)) for m in spoilt}
        assert kinds == ({(3, False), (4, True), (4, False)} if share else set())
    synthetic, rng = MemorySampler(near, 1.0, 0.0, 1.0), random.Random(0)
    assert {m.steps for _ in range(50) for m in synthetic.draw(INVENTED, rng) or ()} == {("take it",)}


def test_right_and_wrong_come_in_either_order() -> None:
    both = [m for m in _drawn(INVENTED, 0.0, 1.0) if len(m) == 2]
    firsts = {memories[0].task_type == "synthetic/1" for memories in both}
    assert firsts == {True, False}


def test_a_made_up_task_is_always_told_its_own_recipe() -> None:
    for memories in _drawn(INVENTED, 0.0, 0.3):
        assert [m.game for m in memories if m.task_type == "synthetic/1"] == ["g6"]


def test_a_made_up_task_without_another_memory_is_left_out() -> None:
    lonely = [m for m in MEMORIES if m.game != "g6"]
    assert MemorySampler(lonely, 1.0, 0.0).draw(INVENTED, random.Random(0)) is None


def test_without_memories_nothing_is_drawn() -> None:
    assert MemorySampler([], 1.0, 1.0).draw(EPISODE, random.Random(0)) == []
