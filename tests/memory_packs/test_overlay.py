"""An overlay counts uses and wins, lets what loses rest, keeps what the student won, and outlives a kill anywhere."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes import episode

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.core.trajectory import Trajectory
from duomem.memory_packs import overlay as module
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.overlay import Overlay, default_path
from duomem.memory_packs.pack import Pack, write_pack

SHELF, OTHER, PEN = (
    Memory(f"put a {thing} in shelf.", "pick_and_place_simple", thing, "shelf", (step,), f"{i:064x}", "g")
    for i, (thing, step) in enumerate((("mug", "search desk"), ("mug", "search bed"), ("pen", "search safe")))
)
CALLS = ("mkdir", "open", "write", "fsync", "close", "pread", "fstat")


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return write_pack(tmp_path / "a.dmpack", "name", "expert/1", "0" * 64, [SHELF, OTHER, PEN])


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk is waited for: a kill of the process loses nothing that was written."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def _won(i: int = 0, split: str = "train") -> Trajectory:
    return episode(i, split, commands=("go to desk 1", "take {name} 1 from desk 1"))


def _shown(overlay: Overlay, task: str = SHELF.task, k: int = 1) -> list[Memory]:
    return [memory for _, memory in overlay.search(task, k)]


def test_uses_and_wins_are_there_after_a_restart(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "data/o.jsonl"
    assert Overlay(path, pack).counts() == {} and not path.exists()
    first = Overlay(path, pack)
    first.record([SHELF, PEN], True)
    first.record([SHELF], False)
    for overlay in (first, Overlay(path, pack)):
        assert overlay.counts() == dict(sorted({SHELF.id: (2, 1), PEN.id: (1, 1)}.items()))
    before = path.read_bytes()
    first.record([], False)
    assert path.read_bytes().startswith(before) and path.stat().st_mode & 0o077 == 0


def test_nothing_learned_shows_what_the_pack_shows(tmp_path: Path, pack: Pack) -> None:
    overlay = Overlay(tmp_path / "o.jsonl", pack)
    for task in (SHELF.task, PEN.task, "put a mug and a pen in shelf"):
        for k in (1, 2, 3):
            assert overlay.search(task, k) == pack.search(task, k)


@pytest.mark.parametrize(("uses", "wins", "rests"), [(2, 0, False), (3, 1, True), (4, 2, False), (5, 2, True)])
def test_what_loses_rests(uses: int, wins: int, rests: bool, tmp_path: Path, pack: Pack) -> None:
    overlay = Overlay(tmp_path / "o.jsonl", pack)
    for i in range(uses):
        overlay.record([SHELF], i < wins)
    assert overlay.rests(SHELF) == rests
    assert _shown(overlay) == [OTHER if rests else SHELF]
    assert _shown(overlay, k=2) == ([OTHER, SHELF] if rests else [SHELF, OTHER])
    assert overlay.search(SHELF.task, keep=lambda m: m != OTHER)[0][1] == SHELF


def test_if_all_of_a_goal_rest_the_best_is_shown(tmp_path: Path, pack: Pack) -> None:
    overlay = Overlay(tmp_path / "o.jsonl", pack)
    for won in (False, False, False, True):
        overlay.record([SHELF], False)
        overlay.record([OTHER], won)
        overlay.record([PEN], False)
    assert all(map(overlay.rests, (SHELF, OTHER, PEN)))
    assert _shown(overlay) == [OTHER] and _shown(overlay, PEN.task) == [PEN]


def test_what_the_student_won_is_kept_and_shown(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "o.jsonl"
    overlay = Overlay(path, pack)
    own = write_memory(_won(1))
    assert own.task == "put a pen in desk." and own not in _shown(overlay, own.task)
    for _ in range(3):
        overlay.record([], True, own)
    overlay.record([], True, replace(own, steps=()))
    overlay.record([], True, replace(own, task="a\x1b[31m"))
    overlay.record([SHELF], True, SHELF)
    for one in (overlay, Overlay(path, pack)):
        assert one.memories == (own,) and _shown(one, own.task) == [own]


def test_a_pack_of_nothing_named_rests_by_its_sentences(tmp_path: Path) -> None:
    """Imported skills are about nothing with a name: another skill is no memory of the same goal."""
    one, two = (replace(m, object_type="", target_type="", task_type="skill") for m in (SHELF, PEN))
    overlay = Overlay(tmp_path / "o.jsonl", write_pack(tmp_path / "a.dmpack", "n", "skills", "", [one, two]))
    for _ in range(3):
        overlay.record([one], False)
    assert overlay.rests(one) and _shown(overlay, one.task) == [one]


@pytest.mark.usefixtures("no_wait")
def test_two_processes_write_whole_lines(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "o.jsonl"
    children = []
    for i in range(3):
        children.append(os.fork())
        if not children[-1]:
            overlay = Overlay(path, pack)
            for n in range(20):
                overlay.record([SHELF], n % 2 == 0, write_memory(_won(i)))
            os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    overlay = Overlay(path, pack)
    assert overlay.counts() == {SHELF.id: (60, 30)} and len(overlay.memories) == 3
    assert path.read_bytes().count(b"\n") == 61


def test_a_reader_sees_what_another_wrote(tmp_path: Path, pack: Pack) -> None:
    one, two = Overlay(tmp_path / "o.jsonl", pack), Overlay(tmp_path / "o.jsonl", pack)
    one.record([SHELF], True)
    two.record([SHELF], False)
    assert two.counts() == {SHELF.id: (2, 1)} and one.counts() == {SHELF.id: (1, 1)}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.usefixtures("no_wait")
def test_a_journal_cut_anywhere_reads(begun: bool, tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "o.jsonl"
    overlay = Overlay(path, pack)
    if begun:
        overlay.record([SHELF], True)
    old = path.read_bytes() if begun else b""
    overlay.record([PEN], True, write_memory(_won()))
    new = path.read_bytes()
    ends = {*range(len(old), len(new), 9), *(i for i in range(len(old), len(new)) if new[i : i + 1] == b"\n")}
    for end in sorted(ends):
        path.write_bytes(new[:end])
        cut = Overlay(path, pack)
        assert cut.counts() == ({SHELF.id: (1, 1)} if begun else {})
        cut.record([OTHER], False)
        for read in (cut, Overlay(path, pack)):
            counts = read.counts()
            assert counts.pop(OTHER.id) == (1, 0)
            if end == len(new) - 1:  # whole but for its end: ended by the next
                assert counts.pop(PEN.id) == (1, 1)
            assert counts == ({SHELF.id: (1, 1)} if begun else {})


def _killing(call: int) -> dict[str, Callable[..., Any]]:
    """The calls of os that an overlay makes; number `call` kills this process; a write counts twice, half way too."""
    left = [call]

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            left[0] -= 1
            if left[0] and name == "write":
                left[0] -= 1
                if not left[0]:
                    real(args[0], args[1][: len(args[1]) // 2])
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return wrapped

    return {name: wrap(name, getattr(os, name)) for name in CALLS}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.usefixtures("no_wait")
def test_killed_at_every_file_system_call(begun: bool, tmp_path: Path, pack: Pack) -> None:
    own = write_memory(_won())
    calls = 0
    while True:
        path = tmp_path / f"{calls}/o.jsonl"
        if begun:
            Overlay(path, pack).record([SHELF], True)
        calls += 1
        child = os.fork()
        if not child:
            for name, call in _killing(calls).items():
                setattr(os, name, call)
            Overlay(path, pack).record([PEN], True, own)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        overlay = Overlay(path, pack)
        told = overlay.counts()
        if not status:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert told in ({SHELF.id: (1, 1)} if begun else {}, dict(sorted({PEN.id: (1, 1), **told}.items())))
        overlay.record([OTHER], False)
        after = Overlay(path, pack).counts()
        assert after == dict(sorted({**told, OTHER.id: (1, 0)}.items()))
        assert bool(Overlay(path, pack).memories) == (PEN.id in told)
    assert calls > 8 and told[PEN.id] == (1, 1) and overlay.memories == (own,)


def test_damage_costs_one_line(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "o.jsonl"
    overlay = Overlay(path, pack)
    for memory in (SHELF, OTHER, PEN):
        overlay.record([memory], True)
    path.write_bytes(path.read_bytes().replace(OTHER.id.encode(), SHELF.id.encode()))
    assert Overlay(path, pack).counts() == dict(sorted({SHELF.id: (1, 1), PEN.id: (1, 1)}.items()))


def test_of_another_pack_or_no_overlay(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "o.jsonl"
    Overlay(path, pack).record([SHELF], True)
    other = write_pack(tmp_path / "b.dmpack", "other", "expert/1", "0" * 64, [SHELF])
    assert default_path(other) != default_path(pack)
    with pytest.raises(UserError, match=r"o\.jsonl: is no overlay of the pack other"):
        Overlay(path, other)
    for data in (b"my notes\n", b"my notes", b"\x00" * 100):
        path.write_bytes(data)
        with pytest.raises(UserError, match="is no overlay of the pack name"):
            Overlay(path, pack)
        assert path.read_bytes() == data


def _forged(*rows: dict[str, Any] | list[Any]) -> Callable[[Pack], bytes]:
    def data(pack: Pack) -> bytes:
        header = {"format": module.FORMAT, "schema": module.SCHEMA, "pack": pack.digest}
        return b"".join(module._line(row) for row in (header, *rows))  # type: ignore[arg-type]

    return data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_forged([]), "a line is not a JSON object"),
        (_forged({"shown": "x"}), "field shown"),
        (_forged({"shown": ["x"] * 101}), "field shown"),
        (_forged({"shown": ["x" * 65]}), "field shown"),
        (_forged({"shown": ["\x1b[31m"]}), "field shown"),
        (_forged({"shown": [], "memory": {"task": "x" * 501}}), "memory of a line: field task"),
    ],
)
def test_hostile_lines(data: Callable[[Pack], bytes], said: str, tmp_path: Path, pack: Pack) -> None:
    (tmp_path / "o.jsonl").write_bytes(data(pack))
    with pytest.raises(UserError, match=rf"o\.jsonl: .*{said}"):
        Overlay(tmp_path / "o.jsonl", pack)


def test_hostile_files(tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.jsonl"
    path.mkdir()
    with pytest.raises(UserError, match=r"o\.jsonl: "):
        Overlay(path, pack)
    path.rmdir()
    os.mkfifo(path)
    started = time.monotonic()
    with pytest.raises(UserError, match="Not a regular file"):
        Overlay(path, pack)
    assert time.monotonic() - started < 1
    path.unlink()
    monkeypatch.setattr(module, "_SIZE_LIMIT", 400)
    overlay = Overlay(path, pack)
    overlay.record([SHELF], True)
    with pytest.raises(UserError, match="is full: export it"):
        for _ in range(9):
            overlay.record([SHELF], True)
    path.unlink()
    with pytest.raises(UserError, match="was replaced while it was in use"):
        overlay.record([SHELF], True)


def test_export(
    tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    out, command = tmp_path / "o.jsonl", ["pack", "export-overlay", str(tmp_path / "a.dmpack"), "--out"]
    assert main([*command, str(out)]) == 1 and "nothing was learned beside" in capsys.readouterr().err
    overlay = Overlay(default_path(pack), pack)
    overlay.record([SHELF], True, write_memory(_won()))
    overlay.record([SHELF], False, write_memory(_won(2)), "valid_seen")
    assert main([*command, str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: uses and wins of 1 entries, 1 new memories\n"
    rows = list(map(json.loads, out.read_text().splitlines()))
    assert rows[0] == {"id": SHELF.id, "uses": 2, "wins": 1}
    assert rows[1]["memory"]["task"] == "put a mug in desk." and len(rows) == 2
