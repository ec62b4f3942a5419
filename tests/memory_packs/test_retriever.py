"""The right memory for a task, by its words or by what a lexicon says they mean: of another game, in a fixed order."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.lexicon import UNIT, Lexicon
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import NEAR_TIE, Retriever, words
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


def _about(thing: str, target: str, game: str) -> Memory:
    """A memory whose title shares no word with any sentence asked for here."""
    return Memory("xyzzy.", "pick_and_place_simple", thing, target, (f"take {thing}",), game, f"group of {game}")


MEANT = [
    _about("mug", "desk", "a"),
    _about("pot", "shelf", "d"),
    _about("mug", "desk", "b"),
    _about("pan", "desk", "c"),
]
TIE = math.floor(-math.log(NEAR_TIE) / UNIT)  # the most by which a stored weight may be behind
LEXICON = Lexicon(
    [["pick_and_place_simple"], ["mug", "pan", "pot"], ["desk", "shelf"]],
    {"beaker": [1, 40, 2, 40 - TIE, 3, 40 - TIE - 1]},
)


def _games(found: list[tuple[float, Memory]]) -> list[str]:
    assert all(0 < nearness <= 1 for nearness, _ in found)
    assert [nearness for nearness, _ in found] == sorted((nearness for nearness, _ in found), reverse=True)
    return [memory.game for _, memory in found]


def test_a_lexicon_finds_one_memory_for_each_goal_nearly_as_likely_as_the_best() -> None:
    retriever = Retriever(MEANT, LEXICON)
    assert _games(retriever.search("a beaker", 9)) == ["a", "c"]
    assert [_games(retriever.search("a beaker", k)) for k in (0, 1, 2)] == [[], ["a"], ["a", "c"]]
    assert _games(retriever.search("whatever", 9)) == ["a", "c", "d"]  # one is as likely as another
    assert Retriever(MEANT).search("a beaker", 9) == [] == Retriever([], LEXICON).search("a beaker", 9)


def test_with_a_lexicon_too_what_is_not_kept_is_never_found() -> None:
    retriever = Retriever(MEANT, LEXICON)
    assert _games(retriever.search("a beaker", 9, lambda m: m.game != "a")) == ["b", "c"]
    assert _games(retriever.search("a beaker", 9, lambda m: m.game not in "ab")) == ["c", "d"]
    assert retriever.search("a beaker", 9, lambda m: False) == []


def test_a_goals_target_is_in_the_room() -> None:
    retriever = Retriever(MEANT, LEXICON)
    assert _games(retriever.search("a beaker", 9, places=("shelf", "bed"))) == ["d"]
    assert retriever.search("a beaker", 9, lambda m: m.game != "d", ("shelf",)) == []
    assert _games(retriever.search("a beaker", 9, places=("desk",))) == ["a", "c"]
    assert _games(retriever.search("a beaker", 9, places=("bed",))) == ["a", "c"]


def test_choices_are_the_memories_of_each_goal() -> None:
    retriever = Retriever(MEANT, LEXICON)
    for most, games in ((1, [["a"], ["c"]]), (2, [["a", "b"], ["c"]]), (9, [["a", "b"], ["c"]])):
        found = retriever.choices("a beaker", 9, most=most)
        assert [[m.game for m in memories] for _, memories in found] == games
        assert [(nearness, memories[0]) for nearness, memories in found] == retriever.search("a beaker", 9)
    found = retriever.choices("a beaker", 1, lambda m: m.game != "a", most=2)
    assert [[m.game for m in memories] for _, memories in found] == [["b"]]


def test_choices_by_words_are_the_nearest_in_rows() -> None:
    ranked = Retriever(TASKS).search("put a clean bowl in fridge.", 5)
    rows = Retriever(TASKS).choices("put a clean bowl in fridge.", 2, most=2)
    assert [memories for _, memories in rows] == [[m for _, m in ranked[i : i + 2]] for i in (0, 2)]
    assert [nearness for nearness, _ in rows] == [ranked[0][0], ranked[2][0]]


def test_five_thousand_goals_take_a_lexicon_about_a_millisecond() -> None:
    """Exponentials and sorting of all of them took ten."""
    things, targets = [f"thing{i}" for i in range(100)], [f"place{i}" for i in range(50)]
    lexicon = Lexicon(
        [["pick_and_place_simple"], things, targets], {"thing": [n for i in range(1, 101) for n in (i, i)]}
    )
    memories = [_about(thing, target, "g") for thing in things for target in targets]
    retriever = Retriever(memories, lexicon)
    spent = []
    for _ in range(15):
        began = time.process_time()
        assert retriever.search("a thing", 1)[0][1].object_type == "thing99"
        spent.append(time.process_time() - began)
    assert sorted(spent)[5] < 0.005


def _by_the_formula(memories: list[Memory], task: str) -> list[tuple[float, Memory]]:
    """The tf-idf cosine times the naive Bayes chance of the task type, as one writes them down."""
    titles = [set(words(m.task)) for m in memories]
    vocabulary = set().union(*titles)
    asked = set(words(task)) & vocabulary
    square = {t: math.log(1 + len(titles) / sum(t in title for title in titles)) ** 2 for t in vocabulary}

    def norm(terms: set[str]) -> float:
        return math.sqrt(sum(square[t] for t in terms)) or 1.0

    weight = {}
    for task_type in {m.task_type for m in memories}:
        own = [title for m, title in zip(memories, titles, strict=True) if m.task_type == task_type]
        weight[task_type] = float(len(own))
        for t in vocabulary:
            p = (sum(t in title for title in own) + 0.5) / (len(own) + 1)
            weight[task_type] *= p if t in asked else 1 - p
    found = [
        (
            sum(square[t] for t in title & asked)
            / (norm(title) * norm(asked))
            * (weight[memory.task_type] / sum(weight.values())),
            memory,
        )
        for memory, title in zip(memories, titles, strict=True)
        if title & asked
    ]
    return sorted(found, key=lambda pair: -round(pair[0], 9))


_SENTENCES = st.lists(st.sampled_from(["put", "a", "hot", "mug", "pan", "in", "shelf", "bed"]), max_size=6).map(
    " ".join
)
_ENTRIES = st.lists(st.tuples(_SENTENCES, st.sampled_from(["simple", "heat", "look", "other"])), max_size=40)


@settings(max_examples=60, deadline=None)
@given(_ENTRIES, _SENTENCES, st.integers(1, 50))
def test_what_is_found_is_what_the_formula_says(entries: list[tuple[str, str]], task: str, k: int) -> None:
    memories = [_memory(*entry, game=str(i)) for i, entry in enumerate(entries)]
    expected = _by_the_formula(memories, task)[:k]
    found = Retriever(memories).search(task, k)
    assert [nearness for nearness, _ in found] == pytest.approx([nearness for nearness, _ in expected], rel=1e-9)
    assert [memory for _, memory in found] == [memory for _, memory in expected]


def test_a_thousand_task_types_cost_no_more_than_their_entries() -> None:
    """An index of task types times words takes seconds."""

    def word(n: int) -> str:
        return "".join("abcdefghij"[int(digit)] for digit in str(n))

    tasks = [f"put a {word(i)} in {word(i % 997)}x." for i in range(5000)]
    began = time.process_time()
    retriever = Retriever([_memory(task, f"type {i % 1000}", str(i)) for i, task in enumerate(tasks)])
    built = time.process_time() - began
    asked = tasks[:: len(tasks) // 50]
    began = time.process_time()
    assert [retriever.search(task, 3)[0][1].task for task in asked] == asked
    assert built < 1 and (time.process_time() - began) / len(asked) < 0.01
