"""A pack that a model wrote: its entries are checked, it says who wrote them, and by default nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mug_episodes import FROM_SHELF, LIST, LOST, SCRIPT, told, write_told
from scripted_chat import ScriptedModel

from duomem.core.chat.model import Message
from duomem.core.errors import UserError
from duomem.memory_packs.build import build_pack
from duomem.memory_packs.manifest import PROGRAM, Writer
from duomem.memory_packs.merge import diff_packs, merge_packs
from duomem.memory_packs.pack import Pack, read_pack
from duomem.memory_packs.writers.prompt import Prompt
from duomem.memory_packs.writers.writer import ModelWriter

WORDED = LIST.replace("take mug", "take the mug")
BAD = "1. take plate"


def _build(tmp_path: Path, model: ScriptedModel, *episodes: Any, **options: Any) -> Pack:
    file = write_told(tmp_path / "t.jsonl", episodes)
    return build_pack(file, tmp_path / "a.dmpack", "mine", writer=ModelWriter(model, "r1"), **options)


def _reply(messages: Sequence[Message]) -> str:
    return BAD if "from shelf 2" in messages[1].content else WORDED


def test_a_model_writes_each_entry_and_the_pack_says_so(tmp_path: Path) -> None:
    model = ScriptedModel(_reply, name="org/model")
    pack = _build(tmp_path, model, told(0), told(1, FROM_SHELF), told(2))
    assert [m.steps for m in pack.memories] == [
        ("search shelf, desk", "take the mug from desk", *SCRIPT[2:]),
        ("search shelf", "take mug from shelf", *SCRIPT[2:]),
    ]
    assert [len(m.sources) for m in pack.memories] == [2, 1] and len(model.asked) == 1 + 3
    digest = Prompt.load("script").digest
    assert pack.writer == Writer("llm", "org/model", "r1", digest, by_program=1) and pack.author == "llm:some-model"
    read = read_pack(tmp_path / "a.dmpack")
    assert (read.writer, read.memories) == (pack.writer, pack.memories)
    first = (tmp_path / "a.dmpack").read_bytes()
    _build(tmp_path, model, told(0), told(1, FROM_SHELF), told(2))
    assert len(model.asked) == 4 and (tmp_path / "a.dmpack").read_bytes() == first


def test_the_program_asks_nobody_and_says_nothing(tmp_path: Path) -> None:
    pack = build_pack(write_told(tmp_path / "t.jsonl", [told()]), tmp_path / "a.dmpack", "mine")
    assert pack.writer == PROGRAM and pack.memories[0].steps == SCRIPT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dmpack", "t.jsonl"]


def test_limits_bound_the_questions(tmp_path: Path) -> None:
    model = ScriptedModel(_reply)
    pack = _build(tmp_path, model, told(0), told(1, FROM_SHELF), max_entries=1)
    assert len(pack.memories) == len(model.asked) == 1
    assert _build(tmp_path, model, told(0), told(1, FROM_SHELF), max_tokens=1).memories == ()


def test_what_is_worded_alike_is_one_entry(tmp_path: Path) -> None:
    """The model tells two solutions in the same words."""
    pack = _build(tmp_path, ScriptedModel(lambda messages: LIST.replace("desk", "shelf")), told(0), told(1, FROM_SHELF))
    assert len(pack.memories) == 1 and len(pack.memories[0].sources) == 2


@pytest.mark.parametrize("lost_game", [0, 7])
def test_lessons_from_a_lost_episode_of_the_same_task(tmp_path: Path, lost_game: int) -> None:
    def reply(messages: Sequence[Message]) -> str:
        lost = "toaster" in messages[1].content
        return f"{WORDED}\n7. avoid take mug from shelf" if lost else WORDED

    lost = told(lost_game, LOST, won=False)
    pack = _build(tmp_path, ScriptedModel(reply), told(0), lost, memory_format="avoid")
    assert pack.memories[0].steps[-1] == "avoid take mug from shelf" and pack.memories[0].kind == "avoid"
    assert pack.writer.prompt_digest == Prompt.load("avoid").digest and pack.writer.by_program == 0
    held_out = replace(lost, group=lost.group.replace("301", "302"))
    for other in (replace(lost, target_type="desk", game="f" * 64), held_out):
        without = _build(
            tmp_path,
            ScriptedModel(reply),
            told(0),
            other,
            memory_format="avoid",
            hold_out_scenes=("302",) * (other is held_out),
        )
        assert without.memories[0].steps[-1] == SCRIPT[-1] and without.writer.by_program == 0


def test_a_lost_episode_of_the_same_game_comes_first(tmp_path: Path) -> None:
    elsewhere = told(7, [(c.replace("toaster", "microwave"), o) for c, o in LOST], won=False)
    model = ScriptedModel(lambda messages: "")
    _build(tmp_path, model, elsewhere, told(0, LOST, won=False), told(0), memory_format="avoid")
    assert "toaster" in model.asked[0][1].content and "microwave" not in model.asked[0][1].content


@pytest.mark.parametrize("memory_format", ["trajectory", "script+trajectory"])
def test_what_no_model_writes(tmp_path: Path, memory_format: str) -> None:
    with pytest.raises(UserError, match=f"memory format {memory_format[:6]}"):
        _build(tmp_path, ScriptedModel(_reply), told(), memory_format=memory_format)


def test_validation_episodes_are_refused(tmp_path: Path) -> None:
    model = ScriptedModel(_reply)
    with pytest.raises(UserError, match="split"):
        _build(tmp_path, model, replace(told(), split="valid_seen"))
    assert not model.asked


def test_a_merged_pack_says_who_wrote_it(tmp_path: Path) -> None:
    written = _build(tmp_path, ScriptedModel(_reply), told(1, FROM_SHELF))
    (tmp_path / "a.dmpack").rename(tmp_path / "b.dmpack")
    build_pack(tmp_path / "t.jsonl", tmp_path / "a.dmpack", "mine")
    a, b, out = (tmp_path / f"{name}.dmpack" for name in "abc")
    assert "writer" in diff_packs(a, b).said
    assert merge_packs(b, b, out, "both").writer == replace(written.writer, by_program=2)
    assert merge_packs(a, b, out, "both").writer == Writer("several", f"program, {written.writer}", by_program=1)
    assert merge_packs(a, a, out, "both").writer == PROGRAM
