"""Lines come back as the memories they were, and what they say together is bounded."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import pytest

from duomem.core.errors import UserError
from duomem.memory_packs import entries as entries_module
from duomem.memory_packs.entries import read_entries, write_entries
from duomem.memory_packs.memory import Memory

MEMORY = Memory("put a mug in desk.", "pick_and_place_simple", "mug", "desk", ("go to desk", "take mug"), "f" * 64, "g")
MEMORIES = (MEMORY, replace(MEMORY, task="naïve", kind="avoid", others=(("a", "b"),)))


def test_lines_come_back() -> None:
    body = write_entries(MEMORIES)
    assert read_entries(body, "here") == MEMORIES and body.count(b"\n") == 2
    assert write_entries(read_entries(body, "here")) == body
    assert read_entries(write_entries([]), "here") == ()


def test_what_is_no_text_is_refused_when_it_is_read_back() -> None:
    with pytest.raises(UserError, match=r"^here line 1 is not valid JSON"):
        read_entries(write_entries([replace(MEMORY, task="\ud800")]), "here")


def test_a_memory_that_comes_twice() -> None:
    """Whatever games it names."""
    with pytest.raises(UserError, match=r"^here line 2: says what an earlier line says"):
        read_entries(write_entries([MEMORY, replace(MEMORY, game="other")]), "here")


@pytest.mark.parametrize(("limit", "most"), [("_STEPS_LIMIT", 4), ("_SOURCES_LIMIT", 3)])
def test_what_they_may_say_together(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two memories have four steps and three sources."""
    monkeypatch.setattr(entries_module, limit, most)
    assert len(read_entries(write_entries(MEMORIES), "here")) == 2
    monkeypatch.setattr(entries_module, limit, most - 1)
    with pytest.raises(UserError, match=r"^here line 2: with it the memories have more than"):
        read_entries(write_entries(MEMORIES), "here")


def test_many_small_steps_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200,000 steps no more are read than are allowed."""
    monkeypatch.setattr(entries_module, "_STEPS_LIMIT", 20_000)
    row = json.dumps({**MEMORY.to_json(), "task": "0", "steps": ["a1"] * 100}, separators=(",", ":"))
    body = "".join(row.replace('"task":"0"', f'"task":"{i}"') + "\n" for i in range(2_000)).encode()
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"^here line 201: with it"):
            read_entries(body, "here")
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
