"""What a device answers may be anything: it becomes a value or one printable line, in little memory."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from devices import FolderTransport, write_program

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.core.process import Done
from duomem.deploy.deploy import status
from duomem.deploy.lock import locked
from duomem.deploy.transport import Transport

EVIL = "\x1b]0;evil\x07\x9b2J\u202e"


class Liar(Transport):
    """Answers the same to every script."""

    name = "liar"

    def __init__(self, answer: str, exit_status: str = "0") -> None:
        self.answer, self.exit_status = answer, exit_status

    def _shell(self, script: bytes, timeout: float) -> Done:
        mark = re.search(rb'echo "(duomem-[0-9a-f]+) ', script)
        assert mark is not None
        return Done(0, f"{self.answer}\n{mark[1].decode()} {self.exit_status}\n", EVIL)

    def _explain(self, complaint: str) -> str:
        return f"liar: {complaint}"

    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        raise NotImplementedError

    def fetch(self, path: str, target: Path) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("answer", "exit_status", "said"),
    [
        (f"root /home/{EVIL}", "0", "is no path: give another folder"),
        ("root home", "0", "is no path: give another folder"),
        (f"refused {EVIL}", "76", r"liar:d: .*evil"),
        (EVIL, "1", r"liar:d: .*evil"),
        ("", "9" * 5000, r"liar: .*evil"),
        ("", "²", r"liar: .*evil"),
    ],
)
def test_a_lie_is_one_printable_line(answer: str, exit_status: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        status(Liar(answer, exit_status), "d")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


def test_numbers_without_end_are_no_numbers() -> None:
    digits = "9" * 5000
    found = status(Liar(f"root /d\npart x {digits}\ndisk {digits} {digits} {digits} 9% /\n"), "d")
    assert found.free is None and found.folder == "/d"
    assert status(Liar("root /d\ndisk 1 1 5 9% /\n"), "d").free == 5 << 10


def test_the_owner_of_a_lock_is_printable() -> None:
    claim = f"claim {'a' * 16}-1-1-{'b' * 16} 100 50 {EVIL}"
    with pytest.raises(UserError, match=r"evil.* is deploying to it") as caught, locked(Liar(claim), "d"):
        pass
    assert str(caught.value).isprintable()


def test_an_answer_without_end_is_cut_off(tmp_path: Path) -> None:
    shell = write_program(tmp_path / "shell", "#!/bin/sh\nexec yes evil\n")
    began = time.monotonic()
    with pytest.raises(UserError, match="folder: says more than 16 MiB and was stopped"):
        status(FolderTransport(tmp_path, [str(shell)]), "d")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("command", ["push adb bundle", "rollback adb"])
def test_an_unbalanced_quote_is_told_before_anything_is_deployed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").touch()
    assert main(["deploy", *command.split(), "--bench", "out", "--bench-arguments", "--gen '3"]) == 2
    assert "'--bench-arguments': \"--gen '3\": no closing quotation" in capsys.readouterr().err


def test_a_wrong_command_line_is_told_printably(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "status", f"adb:{EVIL}"]) == 2
    assert main([EVIL]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.isprintable() for line in lines)
