"""One writer a path, and whatever moment a writer is killed at: nothing lost, nothing left after the next one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from duomem.core import claim
from duomem.core.claim import claimed
from duomem.core.disk import exchange
from duomem.core.errors import UserError
from duomem.core.files import atomic_folder, atomic_open

# Writes "new" in a child that is killed before its Nth line of the code that touches the file system, N = 1, 2, ...
# until one ends by itself. Tells what is there after each, and after the next writer. Syncs are left out: a kill takes
# no page of the kernel's.
_KILLED = """
import json, os, signal, sys
from pathlib import Path
from duomem.core import claim
from duomem.core.files import atomic_folder, atomic_open

root, kind, text = Path(sys.argv[1]), sys.argv[2], "old"
path = root / "out"
os.fsync = lambda fd: None
if kind == "two renames":
    claim.exchange = lambda one, other: False

def write(text):
    if kind == "file":
        with atomic_open(path) as f:
            f.write(text.encode())
        return
    with atomic_folder(path) as work:
        (work / "sub").mkdir()
        (work / "sub" / "file").write_text(text)

def read():
    file = path if kind == "file" else path / "sub" / "file"
    return file.read_text() if file.is_file() else None

def trace(frame, event, argument):
    global left
    if Path(frame.f_code.co_filename).name not in ("claim.py", "disk.py"):
        return None
    left -= event == "line"
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return trace

write("old")
killed = True
at = 0
while killed:
    at += 1
    pid = os.fork()
    if not pid:
        left = at
        sys.settrace(trace)
        write("new")
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    after = read()
    beside = set(os.listdir(root)) - {"out"}
    with claim.claimed(path):
        swept = read()
    write("old")
    print(json.dumps([after, swept, len(beside), read(), os.listdir(root)]))
"""


@pytest.mark.parametrize("kind", ["file", "folder", "two renames"])
def test_a_kill_at_any_line_loses_nothing_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), kind], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 30 and any(beside for _, _, beside, _, _ in rows)
    assert {after for after, *_ in rows} == ({"old", "new", None} if kind == "two renames" else {"old", "new"})
    assert {swept for _, swept, *_ in rows} == {"old", "new"}
    assert all(last == "old" and listed == ["out"] for _, _, _, last, listed in rows)


def test_a_second_writer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    with atomic_folder(path) as work:
        (work / "file").write_text("first")
        with pytest.raises(UserError, match=f"^{path}: another process is writing it"), atomic_folder(path):
            pass
        monkeypatch.setattr("duomem.core.files._PATIENCE", 0.05)
        with pytest.raises(UserError, match="another process is writing it"), atomic_open(path):
            pass
    assert (path / "file").read_text() == "first" and os.listdir(tmp_path) == ["out"]


def test_a_short_writer_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "out"
    code = "import sys, time\nfrom duomem.core.claim import claimed\nfrom pathlib import Path\n"
    code += "with claimed(Path(sys.argv[1])):\n    print(flush=True)\n    time.sleep(0.3)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        before = time.monotonic()
        with claimed(path, 20):
            assert time.monotonic() - before > 0.1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_a_path_without_a_name(path: str) -> None:
    with pytest.raises(UserError, match="names no file or folder of its own"), atomic_folder(Path(path)):
        pass


def test_other_paths_are_left_alone(tmp_path: Path) -> None:
    kept = [".out.x.abcdefgh.tmp", ".out.abc.tmp", ".other.abcdefgh.tmp", "out.abcdefgh.tmp"]
    for name in [*kept, ".out.abcdefgh.tmp", ".out.lock"]:
        (tmp_path / name).write_text("")
    (tmp_path / ".out.12345678.tmp").mkdir()
    with atomic_open(tmp_path / "out") as f:
        f.write(b"x")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "out"])


def test_without_locks_a_file_is_written_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(fd: int, how: int) -> None:
        raise OSError(claim.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claim.fcntl, "flock", none)
    with claimed(tmp_path / "out"), atomic_open(tmp_path / "out") as f:
        f.write(b"x")
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's renameat2")
def test_a_link_that_a_folder_replaces(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with atomic_folder(tmp_path / "out"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "out"] and not (tmp_path / "out").is_symlink()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's renameat2")
def test_two_names_are_exchanged(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if exchange(tmp_path / "a", tmp_path / "b"):
        assert os.listdir(tmp_path / "a") == ["b"] and os.listdir(tmp_path / "b") == ["a"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "none")
