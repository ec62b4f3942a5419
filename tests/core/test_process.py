"""Commands that are missing, stuck, noisy or killed: what is told of each, and that nothing of them goes on running."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from duomem.core.errors import CompileError
from duomem.core.process import NOT_STARTED, TIMED_OUT, TOO_MUCH, Process, ending, last_line, run, run_step, said_lines


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_it_said_and_was_given(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.stdin.read(), os.environ['WORD']); print('aside', file=sys.stderr)"
    done = run(_python(code), environment={"WORD": "b"}, source=b"a")
    assert (done.status, done.output, done.error) == (0, "a b\n", "aside\n")
    assert run(_python("import sys; print(len(sys.stdin.read()))")).output == "0\n"
    with open(tmp_path / "out", "wb") as sink:
        assert run(_python("print(1)"), sink=sink).output == ""
    assert (tmp_path / "out").read_text() == "1\n"


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["/absent/program"], NOT_STARTED, "No such file"),
        (_python("import sys; print('first'); sys.exit('the reason')"), 1, "the reason"),
        (_python("import sys; print('only this'); sys.exit(3)"), 3, "only this"),
        (_python("import sys; sys.exit(3)"), 3, "ended with exit status 3"),
        (_python("import os; os.kill(os.getpid(), 9)"), -9, "ended by signal 9"),
        (_python("import time; time.sleep(60)"), TIMED_OUT, "no answer in 1 s"),
    ],
)
def test_how_it_ended(command: list[str], status: int, said: str) -> None:
    done = run(command, 1.0 if status == TIMED_OUT else 30.0)
    assert done.status == status and said in done.last_line


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_that_writes_without_end_is_stopped(stream: str) -> None:
    code = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
    done = run(_python(code), 60)
    assert (done.status, done.output, done.error) == (TOO_MUCH, "", "says more than 16 MiB and was stopped")


def test_what_goes_to_a_sink_may_be_long(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as sink:
        assert run(_python("print('x' * (17 << 20))"), 60, sink=sink).status == 0
    assert (tmp_path / "out").stat().st_size > 17 << 20


def test_a_background_process_that_keeps_the_streams_is_not_waited_for() -> None:
    started = time.monotonic()
    done = run(["sh", "-c", "sleep 20 & echo $!"])
    assert time.monotonic() - started < 10
    os.kill(int(done.output), 9)


def test_leaving_ends_the_whole_group(tmp_path: Path) -> None:
    """Also a child that ignores the request to end."""
    mark = tmp_path / "alive"
    child = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
        f"time.sleep(3); pathlib.Path({str(mark)!r}).touch()"
    )
    with (
        pytest.raises(ZeroDivisionError),
        Process(_python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")) as process,
    ):
        while "up" not in process.output():
            time.sleep(0.05)
        raise ZeroDivisionError
    time.sleep(3.2)
    assert not mark.exists()


def test_an_interactive_command_is_asked_and_ends_with_its_input() -> None:
    code = "import sys\nfor line in sys.stdin: print(line.upper(), end='', flush=True)"
    with Process(_python(code), interactive=True) as process:
        assert [process.ask("a"), process.ask("b")] == ["A\n", "B\n"]
        process.finish(10)
        assert process.wait() == 0


def test_a_step_that_fails_is_one_line() -> None:
    for code, limit, said in (
        ("raise ValueError('no such intrinsic')", 30.0, r"^the step failed \(exit 1\): ValueError: no such intrinsic$"),
        ("import os; os.kill(os.getpid(), 11)", 30.0, r"^the step crashed \(SIGSEGV\): it wrote nothing$"),
        ("print('half', flush=True); import time; time.sleep(60)", 1.0, r"^the step took more than 1 s .*: half$"),
    ):
        with pytest.raises(CompileError, match=said):
            run_step(_python(code), limit, "the step", "step", CompileError)
    with pytest.raises(CompileError, match=r"^the step cannot be started: /absent: No such file"):
        run_step(["/absent"], 1.0, "the step", "step", CompileError)


def test_lines_are_safe_to_print() -> None:
    assert said_lines("\x1b]0;evil\x07\n\n  \nsecond\r\n") == ["]0;evil", "second"]
    assert last_line("") == "it says nothing" and last_line("a\nb\n\n") == "b"
    assert [ending(3), ending(-11), ending(-200)] == ["exit 3", "SIGSEGV", "signal 200"]
