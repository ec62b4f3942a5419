"""A card says what its episode files say, and files of other memories are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes import episode

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.core.resumable_jsonl import sidecar_of
from duomem.memory_packs.card import write_card
from duomem.memory_packs.manifest import Evaluation
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import Pack, read_pack, write_pack

MEMORY = Memory("put a mug in desk.", "pick_and_place_simple", "mug", "desk", ("take mug",), "f" * 64, "g")
BUNDLE = "ab" * 32
PLAYER = f"student:{BUNDLE[:12]}"


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return write_pack(tmp_path / "p.dmpack", "p", "expert/1", "", [MEMORY])


def _played(file: Path, pack: str | None, wins: int = 2, n: int = 3, player: str = PLAYER, **inputs: Any) -> Path:
    """An episode file of so many episodes, as `duomem eval` leaves it."""
    rows = [replace(episode(i, "valid_seen", i < wins), player=player).to_json() for i in range(n)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = {"bundle": BUNDLE, "pack": pack, "protocol": "free", "k": 3 if pack else 0, "max_steps": 50}
    said |= {"context_length": None, "action_filter": True, "split": "valid_seen", "games": "0" * 64}
    sidecar_of(file).write_text(json.dumps({k: v for k, v in (said | inputs).items() if v != "left out"}))
    return file


def test_rows_are_computed(pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = {"bundle": "left out", "protocol": "left out", "baseline": "matcher", "action_filter": False}
    files = [
        _played(tmp_path / "1.jsonl", pack.content_digest, goals="human:0", context_length=1024, reminder=False),
        _played(tmp_path / "2.jsonl", None, 0),
        _played(tmp_path / "3.jsonl", pack.content_digest, 3, player="matcher:0123", **baseline),
    ]
    out = tmp_path / "carded.dmpack"
    assert main(["pack", "card", str(tmp_path / "p.dmpack"), *map(str, files), "--out", str(out)]) == 0
    carded = read_pack(out)
    shown = "at most 3 memories, 50 steps"
    assert carded.evaluations == (
        Evaluation.of(
            BUNDLE, "valid_seen", "human:0", "free", f"{shown}, action filter, no reminder, context 1024", 3, 2
        ),
        Evaluation.of(BUNDLE, "valid_seen", "template", "free", "no memory, 50 steps, action filter", 3, 0),
        Evaluation.of("matcher", "valid_seen", "template", "baseline", f"{shown}, no filter", 3, 3),
    )
    assert "2 of 3 won, 66.7% [20.8%, 93.8%], valid_seen, human:0 goals, free" in capsys.readouterr().out
    assert carded.memories == pack.memories and carded.digest != pack.digest
    assert carded.content_digest == pack.content_digest  # so a card can be written anew
    again = write_card(out, files[:1], tmp_path / "again.dmpack")
    assert again.evaluations == carded.evaluations[:1]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"pack": "e" * 64}, r"1\.jsonl: was played with other memories than .*p\.dmpack has \(content digest eeee"),
        ({"split": "train"}, "line 1: field split is 'valid_seen', its inputs say 'train'"),
        ({"bundle": "cd" * 32}, "was not played by student:cdcdcdcdcdcd alone"),
        ({"bundle": 3}, "does not say who played which split"),
        ({"bundle": "left out"}, "does not say who played which split"),
        ({"split": None}, "does not say who played which split"),
        ({"goals": "a\nb"}, r"field evaluations\[0\]\.goals is not a line"),
        ({"device": "\x1b[2J"}, r"field evaluations\[0\]\.condition is not a line"),
    ],
    ids=str,
)
def test_files_that_are_no_results(pack: Pack, tmp_path: Path, inputs: dict[str, Any], said: str) -> None:
    file = _played(tmp_path / "1.jsonl", **{"pack": pack.content_digest, **inputs})
    with pytest.raises(UserError, match=said):
        write_card(tmp_path / "p.dmpack", [file], tmp_path / "out.dmpack")
    assert not (tmp_path / "out.dmpack").exists()


def test_damaged_and_repeated_files(pack: Pack, tmp_path: Path) -> None:
    file = _played(tmp_path / "1.jsonl", pack.content_digest)
    for files, said in (
        ([file, file], "played from the same inputs"),
        ([tmp_path / "2.jsonl"], "no such record of inputs"),
    ):
        with pytest.raises(UserError, match=said):
            write_card(tmp_path / "p.dmpack", files, tmp_path / "out.dmpack")
    for text, said in (("", "was not played by"), ("{}\n", "line 1: field schema"), ("x\n", "line 1 of this")):
        file.write_text(text)
        with pytest.raises(UserError, match=said):
            write_card(tmp_path / "p.dmpack", [file], tmp_path / "out.dmpack")
    sidecar_of(file).write_text("[]")
    with pytest.raises(UserError, match="is not a JSON object"):
        write_card(tmp_path / "p.dmpack", [file], tmp_path / "out.dmpack")
