"""The right memory for a task by its words alone: of its kind, of another game, in a fixed order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever, words
from duomem.train.games.generate import generate


def _memory(task: str, task_type: str = "simple", game: str = "g") -> Memory:
    return Memory(task, task_type, "", "", ("look",), game, f"group of {game}")


TASKS = [
    _memory("put a bowl in fridge.", "simple", "a"),
    _memory("put a clean bowl in fridge.", "clean", "b"),
    _memory("put a clean mug in shelf.", "clean", "c"),
    _memory("put a mug in shelf.", "simple", "d"),
    _memory("examine the mug with the desklamp.", "look", "e"),
]


def test_words() -> None:
    assert words("Put a clean MUG, in a shelf2!") == ["put", "a", "clean", "mug", "in", "shelf"]
    assert words("... 12 \u0435") == []


@pytest.mark.parametrize(
    ("task", "game"),
    [
        ("put a bowl in fridge.", "a"),
        ("put a clean bowl in fridge.", "b"),
        ("put some clean mug on shelf", "c"),
        ("put a mug in shelf", "d"),
        ("look at mug under the desklamp.", "e"),
    ],
)
def test_the_nearest_comes_first(task: str, game: str) -> None:
    ((nearness, memory),) = Retriever(TASKS).search(task)
    assert memory.game == game and 0 < nearness <= 1


def test_what_is_not_kept_is_never_found() -> None:
    found = Retriever(TASKS).search("put a bowl in fridge.", 5, lambda m: m.game != "a")
    assert {m.game for _, m in found} == {"b", "c", "d"}
    assert [n for n, _ in found] == sorted((n for n, _ in found), reverse=True)


def test_equals_come_in_pack_order() -> None:
    twins = [_memory("put a mug in desk.", game=str(i)) for i in range(6)]
    for _ in range(3):
        assert [m.game for _, m in Retriever(twins).search("put a mug in desk.", 4)] == ["0", "1", "2", "3"]


def test_unknown_words_and_empty_packs() -> None:
    assert Retriever(TASKS).search("sing loudly", 3) == []
    assert Retriever(TASKS).search("", 3) == []
    assert Retriever([]).search("put a mug in desk.", 3) == []
    assert Retriever([_memory("!!!")]).search("put a mug in desk.") == []
    ((_, memory),) = Retriever(TASKS).search("sing of a desklamp")
    assert memory.game == "e"


def test_as_many_as_asked_for() -> None:
    assert [len(Retriever(TASKS).search("put a mug", k)) for k in (0, 1, 3, 99)] == [0, 1, 3, 5]


def test_the_task_type_of_generated_tasks(tmp_path: Path, generated_games: Path) -> None:
    """A memory of another game is of the right task type for nearly every task."""
    for _ in generate(tmp_path, 11, {"train": 120, "valid_seen": 30, "valid_unseen": 0}):
        pass
    train, seen = ([load_game(path) for path in find_games(tmp_path, split)] for split in ("train", "valid_seen"))
    memories = [
        Memory(g.task, g.task_type, g.goal.object_type, g.goal.target_type, ("look",), g.digest, g.path.parts[-3])
        for g in train
    ]
    random.Random(0).shuffle(memories)
    retriever = Retriever(memories)
    found = [retriever.search(g.task, 1, lambda m, g=g: m.group != g.path.parts[-3]) for g in seen]
    assert sum(m.task_type == g.task_type for g, ((_, m),) in zip(seen, found, strict=True)) >= 28
