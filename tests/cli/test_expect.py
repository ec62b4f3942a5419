"""--expect: a bundle, pack or archive with another digest is refused in one line, before anything reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.core.files import sha256_file

COMMANDS = [
    (("play", "bundle"), "--expect", "bundle/bundle.json"),
    (("eval", "bundle"), "--expect", "bundle/bundle.json"),
    (("play", "bundle", "--pack", "a.dmpack"), "--expect-pack", "a.dmpack"),
    (("eval", "bundle", "--pack", "a.dmpack"), "--expect-pack", "a.dmpack"),
    (("kit", "unpack", "a.tar.gz", "--out", "out"), "--expect", "a.tar.gz"),
    (("deploy", "push", "ssh://nowhere.invalid", "bundle"), "--expect", "bundle/bundle.json"),
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder: a bundle, a pack and an archive that no reader takes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle").mkdir()
    for name in ("bundle/bundle.json", "a.dmpack", "a.tar.gz"):
        (tmp_path / name).write_text(f"no {name}")


@pytest.mark.parametrize(("command", "option", "file"), COMMANDS)
def test_another_digest_is_refused_first(
    command: tuple[str, ...], option: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, option, "0" * 64]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"duomem: error: {file}: the SHA-256 of this ") and err.count("\n") == 1
    assert f" is {sha256_file(Path(file))}, not the expected {'0' * 64}: take another copy" in err


@pytest.mark.parametrize(("command", "option", "file"), COMMANDS)
def test_the_right_digest_is_let_through_to_the_reader(
    command: tuple[str, ...], option: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, option, sha256_file(Path(file)).upper()]) == 1
    err = capsys.readouterr().err
    assert "expected" not in err and err.count("\n") == 1


def test_what_is_no_digest_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for digest in ("", "0" * 63, "g" * 64, "0" * 65):
        assert main(["play", "bundle", "--expect", digest]) == 2
        assert "is no SHA-256: give the 64 hex digits that sha256sum prints" in capsys.readouterr().err
    assert main(["play", "bundle", "--expect-pack", "0" * 64]) == 2
    assert "--expect-pack: of which memory pack?" in capsys.readouterr().err
