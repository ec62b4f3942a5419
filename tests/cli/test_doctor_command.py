"""`duomem doctor` as a command: its text, its JSON, and when it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import write_bundle

from duomem.cli.main import main
from duomem.device.doctor import doctor
from duomem.device.doctor.checks import Finding
from duomem.device.doctor.doctor import Report, Stage, TargetReport


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report without asking the machine."""
    findings = (Finding("cpu", True, "fast " * 60), Finding("adb", False, "not found"), Finding("vulkan", None, "?"))
    no = Stage(False, "it is for mars", "fly there")
    targets = (
        TargetReport("host", "cpu", "x86_64", True, Stage(True), Stage(True), Stage(True)),
        TargetReport("phone", "vulkan", "mars", False, Stage(True), Stage(True), no),
    )
    monkeypatch.setattr(doctor, "examine", lambda: Report(findings, targets))


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("cpu                  yes  fast") and max(map(len, lines)) <= 120
    assert "adb                  no   not found" in lines and "vulkan               ?    ?" in lines
    assert "phone                vulkan   mars       yes      yes      no" in lines
    assert "  phone: no run: it is for mars. To do: fly there." in lines


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--require", "phone:run"]) == 1
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert value["unmet"] == ["phone: cannot run here: it is for mars: fly there"]
    assert [f["present"] for f in value["findings"]] == [True, False, None]
    assert "--require phone: cannot run here" in err


def test_require(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--require", "host", "--require", "phone"]) == 0
    capsys.readouterr()
    for wrong, said in (
        ("venus", "no such target: known are aarch64"),
        ("host:fly", "no such stage: use one of compile"),
    ):
        assert main(["doctor", "--require", wrong]) == 2
        out, err = capsys.readouterr()
        assert out == "" and said in err and err.count("\n") == 1


def test_a_bundle_that_does_not_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--bundle", str(write_bundle(tmp_path / "b"))]) == 1
    assert "duomem: error: " in capsys.readouterr().err
