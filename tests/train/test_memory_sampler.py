"""Memories in a training episode's context: leave-one-out, shares as asked, synthetic tasks always told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from duomem.core.trajectory import Step, Trajectory
from duomem.memory_packs.lexicon import Lexicon
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


def test_a_memory_that_other_games_support_too_may_be_drawn() -> None:
    for others, is_drawn in (((), False), ((("g9", "scene1"),), False), ((("g9", "scene9"),), True)):
        sampler = MemorySampler([replace(MEMORIES[0], others=others)], 1.0, 0.0)
        assert bool(sampler.draw(EPISODE, random.Random(0))) is is_drawn


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


def _of(thing: str, n: int, group: str, target: str = "desk") -> Memory:
    return Memory("xyzzy.", "heat", thing, target, (f"take {thing}",), f"{thing}{n}", group)


MEANT = [*(_of("mug", n, "s2") for n in range(5)), _of("egg", 0, "s3"), _of("egg", 1, "scene1"), _of("pan", 0, "s4")]
# A mug, maybe an egg, never a pan.
LEXICON = Lexicon([["heat"], ["egg", "mug", "pan"], ["desk"]], {"beaker": [1, 0, 2, 10, 3, -90]})
ASKED = replace(EPISODE, goal="heat up my beaker", goal_source="human:0", intro="Around you, you see a desk 1.")


def _by_meaning(max_memories: int, lexicon: Lexicon | None, memories: list[Memory] = MEANT) -> list[list[Memory]]:
    sampler = MemorySampler(memories, 1.0, 0.0, max_memories=max_memories, lexicon_of=lambda group: lexicon)
    rng = random.Random(0)
    return [sampler.draw(ASKED, rng) or [] for _ in range(200)]


def test_one_memory_for_each_goal_the_words_may_mean() -> None:
    """One or two, the likeliest goal first; of a goal one of its nearest four; none of the scene or a far goal."""
    drawn = [[m.game for m in memories] for memories in _by_meaning(2, LEXICON)]
    assert {len(games) for games in drawn} == {1, 2}
    assert {games[0] for games in drawn} == {"mug0", "mug1", "mug2", "mug3"}
    assert {games[1] for games in drawn if len(games) == 2} == {"egg0"}
    assert {len(memories) for memories in _by_meaning(1, LEXICON)} == {1}
    assert _by_meaning(2, None) == [[]] * 200  # they share no word


def test_the_lexicon_is_the_one_of_the_episodes_group() -> None:
    asked: list[str] = []
    other = Lexicon([["heat"], ["egg", "mug", "pan"], ["desk"]], {"beaker": [3, 90]})

    def of(group: str) -> Lexicon:
        asked.append(group)
        return other if group == "elsewhere" else LEXICON

    sampler, rng = MemorySampler(MEANT, 1.0, 0.0, lexicon_of=of), random.Random(0)
    things = {"scene1": "mug", "elsewhere": "pan"}
    for group, thing in (*things.items(), *things.items()):
        drawn = sampler.draw(replace(ASKED, group=group, game=f"of {group}"), rng) or []
        assert [memory.object_type for memory in drawn] == [thing]
    assert set(asked) == set(things)


def test_each_sentence_of_a_game_is_asked_for_itself() -> None:
    lexicon = Lexicon([["heat"], ["egg", "mug", "pan"], ["desk"]], {"beaker": [2, 90], "skillet": [3, 90]})
    sampler, rng = MemorySampler(MEANT, 1.0, 0.0, lexicon_of=lambda group: lexicon), random.Random(0)
    for goal, thing in (("a hot beaker", "mug"), ("a hot skillet", "pan"), ("a hot beaker", "mug")):
        assert [m.object_type for m in sampler.draw(replace(ASKED, goal=goal), rng) or ()] == [thing]


def test_a_target_that_is_not_in_the_room_is_not_meant() -> None:
    memories = [_of("mug", 0, "s2", "shelf"), _of("egg", 0, "s3")]
    lexicon = Lexicon([["heat"], ["egg", "mug"], ["desk", "shelf"]], {"beaker": [2, 90]})
    assert {m.game for drawn in _by_meaning(2, lexicon, memories) for m in drawn} == {"egg0"}


def test_the_first_of_several_memories_is_the_corrupted_one() -> None:
    sampler = MemorySampler(MEANT, 1.0, 0.0, 1.0, 2, lambda group: LEXICON)
    rng, sound = random.Random(0), {m.steps for m in MEANT}
    drawn = [memories for _ in range(200) if len(memories := sampler.draw(ASKED, rng) or []) == 2]
    assert drawn and all(second.steps == ("take egg",) for _, second in drawn)
    assert {first.steps for first, _ in drawn} <= sound and len({first.steps for first, _ in drawn}) > 1
