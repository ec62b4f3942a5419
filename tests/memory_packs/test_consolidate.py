"""What says the same becomes one entry, other solutions stay, and a limit costs as few goals as it can."""

from __future__ import annotations

from dataclasses import replace

from duomem.memory_packs.consolidate import consolidate, consolidate_wordings, count_tokens, fit
from duomem.memory_packs.memory import MAX_SOURCES, Memory


def _memory(
    game: str, *steps: str, target: str = "desk", task: str = "put a mug in desk.", thing: str = "mug"
) -> Memory:
    return Memory(task, "pick", thing, target, steps, game, f"group of {game}")


TAKE = "take mug from shelf"


def test_equal_memories_are_one() -> None:
    twice = [_memory("a", TAKE), _memory("b", TAKE, task="find some mug and put it in desk."), _memory("a", TAKE)]
    [entry] = consolidate(twice)
    assert entry == replace(twice[0], others=(("b", "group of b"),))
    assert consolidate([entry, *twice]) == [entry] == consolidate([entry])


def test_places_where_nothing_was_found_make_no_difference() -> None:
    """The earliest is told."""
    played = [
        _memory("a", "search bed, shelf", TAKE),
        _memory("b", "search shelf", TAKE),
        _memory("c", "search drawer, shelf", TAKE),
        _memory("d", "search shelf", TAKE),
    ]
    [entry] = consolidate(played)
    assert entry.steps == played[0].steps and [game for game, _ in entry.sources] == list("abcd")


def test_other_solutions_are_kept() -> None:
    other = [
        _memory("a", "search bed, shelf", TAKE),
        _memory("b", "search shelf, bed", TAKE),
        _memory("c", "search shelf", "take mug from drawer"),
        _memory("d", "search bed, shelf", TAKE, target="shelf"),
        _memory("e", "search bed, shelf", TAKE, "use desklamp"),
        replace(_memory("f", "search bed, shelf", TAKE), kind="avoid"),
        _memory("g", "go to bed, shelf", TAKE),
    ]
    assert sorted(m.game for m in consolidate(other)) == list("abcdefg")


def test_entries_stay_in_their_order() -> None:
    shelf = _memory("x", "search shelf", TAKE, target="shelf")
    one, two = _memory("a", "search bed", "take mug from bed"), [_memory(g, "search shelf", TAKE) for g in "bc"]
    assert [m.game for m in consolidate([one, shelf, *two])] == ["a", "x", "b"]


def test_titles_tell_goals_apart_where_nothing_else_does() -> None:
    titles = ("zap the mug.", "zap the pan.")
    unnamed = [_memory("a", TAKE, thing="", task=task) for task in titles]
    assert consolidate(unnamed) == unnamed
    named = [_memory("a", TAKE, task=task) for task in titles]
    assert len(consolidate(named)) == 1 and consolidate(named, by_title=True) == named


def test_other_wordings_are_one() -> None:
    told = [
        _memory("a", "search the bed and then the shelf", TAKE, "go to desk", "move mug to desk"),
        _memory("b", "search shelf", "take the mug from the shelf", "go to the desk", "move it, the mug, to desk"),
        _memory("c", "search shelf", TAKE, "go with mug to desk", "move mug to desk"),
    ]

    def naming(step: str) -> list[str]:
        return [
            word for word in step.replace(",", "").split() if word not in ("the", "and", "then", "to", "it", "with")
        ]

    assert consolidate(told) == told
    [entry] = consolidate_wordings(told, naming)
    assert entry.steps == told[0].steps and [game for game, _ in entry.sources] == list("abc")
    assert consolidate_wordings([entry, *told], naming) == [entry]


def test_wordings_that_say_other_things_are_kept() -> None:
    one = _memory("a", "search shelf", TAKE, "go to desk", "move mug to desk")
    other = [
        replace(one, steps=("search shelf", TAKE, "go to desk", "move mug to desk", "use lamp")),
        replace(one, steps=("move mug to desk", "go to desk", TAKE, "search shelf")),
        replace(one, kind="avoid"),
        replace(one, target_type="bed"),
        replace(one, steps=("search bed", *one.steps[1:])),
    ]
    assert consolidate_wordings([one, *other], str.split) == [one, *other]
    titled = [one, replace(one, task="find a mug and put it in desk.")]
    assert len(consolidate_wordings(titled, str.split)) == 1
    assert consolidate_wordings(titled, str.split, by_title=True) == titled


def test_sources_are_bounded() -> None:
    [entry] = consolidate(_memory(str(i), TAKE) for i in range(MAX_SOURCES + 5))
    assert len(entry.sources) == MAX_SOURCES


def test_a_limit_keeps_goals_before_second_solutions() -> None:
    bed = _memory("a", "search bed", "take mug from bed")
    entries = consolidate([bed, *(_memory(g, "search shelf", TAKE) for g in "bc"), _memory("d", TAKE, target="shelf")])
    assert [m.game for m in entries] == ["a", "b", "d"]
    assert [[m.game for m in fit(entries, n)] for n in (1, 2, 3)] == [["a"], ["a", "d"], ["a", "b", "d"]]
    assert fit(entries, 9) == entries
    assert fit(entries) == entries and fit([], 3) == []


def test_a_budget_of_tokens() -> None:
    entries = [_memory("a", TAKE), _memory("b", TAKE, target="shelf")]
    tokens = [count_tokens(m) for m in entries]
    assert tokens == [-(-len(entries[0].text()) // 3)] * 2
    for budget, kept in ((sum(tokens), 2), (sum(tokens) - 1, 1), (tokens[0] - 1, 0)):
        assert fit(entries, None, budget) == entries[:kept]
