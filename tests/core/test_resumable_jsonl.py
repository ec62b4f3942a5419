"""A long file of rows goes on where it stopped, and is never mixed from different inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.core.resumable_jsonl import ResumableJsonl

INPUTS = {"games": "abc", "k": 1}
ROWS = [{"row": i, "text": "ä" * i} for i in range(4)]


def _write(path: Path, rows: list[dict[str, object]], finish: bool = False) -> None:
    with ResumableJsonl(path, INPUTS) as lines:
        for row in rows:
            lines.append(row)
        if finish:
            lines.finish()


def _resume(path: Path) -> list[dict[str, object]]:
    """What was there; the rest is added."""
    with ResumableJsonl(path, INPUTS) as lines:
        found = list(lines.rows)
        for row in ROWS[len(found) :]:
            lines.append(row)
        lines.finish()
    return found


def test_a_finished_file_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "out" / "rows.jsonl"
    _write(path, ROWS, finish=True)
    assert path.read_text() == "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    assert sorted(os.listdir(path.parent)) == ["rows.jsonl", "rows.jsonl.inputs.json"]
    before = path.stat().st_mtime_ns
    with ResumableJsonl(path, INPUTS) as lines:
        assert lines.done and lines.rows == ROWS
        with pytest.raises(ValueError, match="complete"):
            lines.append({})
    assert path.stat().st_mtime_ns == before


def test_a_finished_file_may_be_arranged(tmp_path: Path) -> None:
    """Rows that came in any order are sorted for the finished file, after a break too."""
    path = tmp_path / "rows.jsonl"
    _write(path, [ROWS[2], ROWS[0]])
    with ResumableJsonl(path, INPUTS) as lines:
        assert lines.rows == [ROWS[2], ROWS[0]]
        lines.append(ROWS[1])
        lines.finish(sorted(lines.rows, key=lambda row: row["row"]))
        assert lines.rows == ROWS[:3]
    assert ResumableJsonl(path, INPUTS).rows == ROWS[:3]


@pytest.mark.parametrize("torn", [b"", b'{"row": 2, "te', b'{"row": 2}', b"\x00\x00\x00", b"\xff\n"])
def test_an_interrupted_file_goes_on(tmp_path: Path, torn: bytes) -> None:
    whole = tmp_path / "whole.jsonl"
    _write(whole, ROWS, finish=True)
    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt), ResumableJsonl(path, INPUTS) as lines:
        for row in ROWS[:2]:
            lines.append(row)
        raise KeyboardInterrupt
    assert not path.exists()
    with open(tmp_path / "rows.jsonl.partial", "ab") as f:
        f.write(torn)
    assert _resume(path) == ROWS[:2]
    assert path.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "rows.jsonl.partial").exists()


def test_a_header_torn_by_a_crash_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.partial").write_bytes(b'{"games": "a')
    assert _resume(tmp_path / "rows.jsonl") == []
    with ResumableJsonl(tmp_path / "rows.jsonl", INPUTS) as lines:
        assert lines.rows == ROWS


def test_nothing_is_written_before_the_first_row(tmp_path: Path) -> None:
    with pytest.raises(UserError), ResumableJsonl(tmp_path / "new" / "rows.jsonl", INPUTS):
        raise UserError("the student cannot be loaded")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("finish", [True, False])
def test_other_inputs_are_refused(tmp_path: Path, finish: bool) -> None:
    path = tmp_path / "rows.jsonl"
    _write(path, ROWS[:1], finish)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(UserError, match="made from other inputs"):
        ResumableJsonl(path, {**INPUTS, "k": 2})
    assert before == {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}


def test_a_file_of_unknown_inputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"rows.jsonl.inputs.json: no such record of inputs"):
        ResumableJsonl(tmp_path / "rows.jsonl", INPUTS)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        ResumableJsonl(tmp_path, INPUTS)


def test_a_crash_before_the_partial_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _write(path, ROWS[:1])
    partial = (tmp_path / "rows.jsonl.partial").read_bytes()
    _resume(path)
    (tmp_path / "rows.jsonl.partial").write_bytes(partial)
    with ResumableJsonl(path, INPUTS) as lines:
        assert lines.done and lines.rows == ROWS


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    """The second is told, and the first one's rows are whole."""
    path = tmp_path / "rows.jsonl"
    with ResumableJsonl(path, INPUTS) as first, ResumableJsonl(path, {**INPUTS, "k": 2}) as second:
        first.append(ROWS[0])
        with pytest.raises(UserError, match=r"rows\.jsonl: another process is writing it"):
            second.append(ROWS[1])
        first.append(ROWS[2])
        first.finish()
    with ResumableJsonl(path, INPUTS) as lines:
        assert lines.rows == [ROWS[0], ROWS[2]]
    assert sorted(os.listdir(tmp_path)) == ["rows.jsonl", "rows.jsonl.inputs.json"]


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_another_overtook(tmp_path: Path, finished: bool) -> None:
    path = tmp_path / "rows.jsonl"
    with ResumableJsonl(path, INPUTS) as late:
        _write(path, ROWS[:2], finish=finished)
        with pytest.raises(UserError, match="another process wrote it meanwhile"):
            late.append(ROWS[3])
    with ResumableJsonl(path, INPUTS) as lines:
        assert lines.rows == ROWS[:2] and lines.done == finished
