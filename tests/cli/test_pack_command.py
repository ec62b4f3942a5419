"""`duomem pack show` and `recall`: what is printed of a pack, and of its memories for a goal in a room."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.manifest import Release
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import Pack, write_pack

LEXICON = Lexicon([["pick_and_place_simple"], ["mug"], ["desk", "shelf"]], {"": [2, 10]})


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    memories = [
        Memory(f"put a mug in {place}.", "pick_and_place_simple", "mug", place, ("take mug",), place, "g")
        for place in ("shelf", "desk")
    ]
    release = Release(licence="MIT", upstream_licences=("CC0-1.0",), prompt_version=2, k=2, token_budget=30)
    return write_pack(tmp_path / "a.dmpack", "mine", "expert/2", "", memories, LEXICON, release)


def _said(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["pack", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_a_pack_says_of_itself(pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rest = _said(capsys, "show", str(tmp_path / "a.dmpack"))
    assert head.endswith(f"a.dmpack: mine 0.1.0, 2 memories by expert/2, 0.00 MB, sha256 {pack.digest}")
    assert rest == [
        "  licence MIT, made from CC0-1.0; alfworld, prompt version 2",
        f"  at most 2 memories a goal, 30 tokens; content {pack.content_digest}",
        "       2  pick_and_place_simple",
    ]


def test_memories_for_a_goal_in_a_room(pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recall = ("recall", str(tmp_path / "a.dmpack"), "stow the mug")
    tasks = [memory.task for memory in pack.memories]
    for places, found in (((), tasks[::-1]), (("shelf",), tasks[:1]), (("desk", "bed"), tasks[1:])):
        lines = _said(capsys, *recall, *(word for place in places for word in ("--place", place)))
        assert [line.split("  ")[1].partition(" 1.")[0] for line in lines] == found
