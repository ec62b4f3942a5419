"""Deploying over adb, to a command that plays one device: copying, cuts, and what adb says when it cannot."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from devices import Bundles

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.deploy import deploy as module
from duomem.deploy.adb import AdbTransport
from duomem.deploy.address import AdbAddress
from duomem.deploy.deploy import deploy
from duomem.deploy.transport import ConnectionLost

InUse = Callable[[Path], bytes]
FOLDER = "data/local/tmp/duomem"
PHONE = AdbAddress("PHONE1", f"/{FOLDER}")


def test_from_the_command_line(
    adb: Path,
    bundles: Bundles,
    in_use: InUse,
    android_tools: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With Android's own tools and no hard links."""
    monkeypatch.setenv("FAKE_ADB_PATH", str(android_tools))
    assert main(["deploy", "push", "adb", str(bundles.old)]) == 0
    assert "adb device:/data/local/tmp/duomem: version " in capsys.readouterr().out
    assert main(["deploy", "push", "adb:PHONE1", str(bundles.new)]) == 0
    assert f"sent 3 files, {bundles.changed / 1e6:.1f} MB, 4 files were there" in capsys.readouterr().out
    assert in_use(adb / FOLDER) == (bundles.new / "bundle.json").read_bytes()
    assert main(["deploy", "status", "adb"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" is current") and len(lines) == 4 and lines[3].startswith("free: ")
    assert sorted(line.split("  ")[-1] for line in lines[1:3]) == ["current", "previous, for a rollback"]
    assert main(["deploy", "rollback", "adb"]) == 0
    assert in_use(adb / FOLDER) == (bundles.old / "bundle.json").read_bytes()
    assert main(["deploy", "push", "adb", str(bundles.old), "--ssh-config", str(bundles.old / "bundle.json")]) == 2
    assert "is reached by adb" in capsys.readouterr().err


def test_files_come_and_go_unchanged(adb: Path, tmp_path: Path) -> None:
    phone = AdbTransport(PHONE)
    source, target = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(2_500_001))
    there = '/data/local/tmp/it\'s $HOME; "there" *'
    phone.append(source, 0, 1_000_000, there)
    phone.append(source, 1_000_000, 1_500_001, there)
    phone.fetch(there, target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(UserError, match="no such file"):
        phone.fetch("/data/local/tmp/absent", target)
    with pytest.raises(UserError, match="couldn't create file"):
        phone.append(source, 0, 10, "/data/local/tmp/absent/x")


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [1, 3])
def test_the_cable_is_pulled_at_every_command(
    pieces: int, adb: Path, bundles: Bundles, in_use: InUse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of it: half a script or half a file gets there, and no answer comes back."""
    monkeypatch.setattr(module, "PIECE", 10_240 // pieces)
    deploy(AdbTransport(PHONE), PHONE.folder, bundles.old)
    old, new = ((bundle / "bundle.json").read_bytes() for bundle in (bundles.old, bundles.new))
    shutil.copytree(adb, tmp_path / "start", symlinks=True)
    counter = tmp_path / "cut"
    monkeypatch.setenv("FAKE_ADB_CUT", str(counter))
    cut = 1
    while True:
        counter.write_text(str(cut))
        with contextlib.suppress(ConnectionLost):
            deploy(AdbTransport(PHONE), PHONE.folder, bundles.new)
            break
        assert in_use(adb / FOLDER) in (old, new)
        counter.write_text("1000")
        deploy(AdbTransport(PHONE), PHONE.folder, bundles.new)
        assert in_use(adb / FOLDER) == new
        shutil.rmtree(adb)
        shutil.copytree(tmp_path / "start", adb, symlinks=True)
        cut += 3
    assert cut > 15


@pytest.mark.parametrize(
    ("state", "address", "said"),
    [
        ("none", "adb", "none is connected"),
        ("two", "adb", "several are connected"),
        ("unauthorized", "adb", "accept the question on its screen"),
        ("offline", "adb", "it does not answer"),
        ("device", "adb:PHONE2", "it is not connected"),
        ("full", "adb", "No space left"),
    ],
)
def test_what_keeps_it_from_working_is_said(
    state: str,
    address: str,
    said: str,
    adb: Path,
    bundles: Bundles,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAKE_ADB_STATE", state)
    assert main(["deploy", "push", address, str(bundles.old)]) == 1
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_no_adb(
    tmp_path: Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["deploy", "push", "adb", str(bundles.old)]) == 1
    assert "adb: not found: install it" in capsys.readouterr().err
