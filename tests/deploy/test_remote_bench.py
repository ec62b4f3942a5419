"""Bringing a device's own benchmark home: over a real sshd, into one table, and what is no result is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from devices import FolderTransport, Sshd, write_program

from duomem.core.errors import UserError
from duomem.deploy.address import SshAddress
from duomem.deploy.remote_bench import bench_on_device, keep, table
from duomem.deploy.ssh import SshTransport

RESULT: dict[str, Any] = {
    "benchmark": "duomem",
    "version": 1,
    "machine": {"cpu": "Cortex-A76", "cores": 4, "system": "Linux 6.12"},
    "bundle": {"model": "tiny", "quantization": "q4f32_1"},
    "runs": [
        {
            "threads": 4,
            "start": {"first_token_seconds": 1.5},
            "peak_rss": {"duomem": 2e8},
            "tests": [
                {"test": "pp512", "engines": {"duomem": {"mean": 50.04, "sd": 1.0}}},
                {"test": "tg128", "engines": {"duomem": {"mean": 9.5, "sd": 0.25}}},
            ],
        }
    ],
}


def device(folder: Path, program: str) -> Path:
    (folder / "my device" / "current").mkdir(parents=True)
    write_program(folder / "my device/current/bench", f"#!/bin/sh\n{program}\n")
    return folder / "my device"


@pytest.mark.ssh
def test_over_ssh_into_one_table(sshd: Sshd, tmp_path: Path) -> None:
    folder = device(tmp_path, f"echo a table; echo \"$*\" >&2; echo '{json.dumps(RESULT)}'")
    with contextlib.closing(SshTransport(SshAddress("device", None, None, "duomem"), sshd.config)) as transport:
        assert bench_on_device(transport, str(folder), ["--repetitions", "2"]) == RESULT
    keep(RESULT, "phone-root@host", tmp_path / "out")
    other = {**RESULT, "runs": [{**RESULT["runs"][0], "tests": RESULT["runs"][0]["tests"][1:]}]}
    lines = keep(other, "jetson", tmp_path / "out").read_text().splitlines()
    assert json.loads((tmp_path / "out/phone-root-host.json").read_text()) == RESULT
    assert len(lines) == 4 and lines[0].endswith("| tg128 tok/s | pp512 tok/s |")
    assert lines[2].startswith("| jetson | Cortex-A76 | 4 |") and lines[2].endswith("| 9.5 ± 0.2 |  |")
    assert lines[3].endswith("| tiny q4f32_1 | 4 | 1.50 | 200 | 9.5 ± 0.2 | 50.0 ± 1.0 |")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("echo 'install.sh: no Python here' >&2; exit 3", "bench fails there: install.sh: no Python here"),
        ("echo no JSON", "prints no JSON line"),
        ("echo '{'", "not valid JSON"),
        ("echo '{}'", "is no result of duomem bench"),
        (r"""printf '%s\n' '{"runs": "\ud800"}'""", "not valid JSON"),
        ("echo '{\"runs\": '; printf '{\"x\": %05000d1}\\n' 9", "not valid JSON"),
        ("yes evil", "bench fails|says more than 16 MiB and was stopped"),
        ("rm bench; sh ./bench", "bench fails there"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, program: str, message: str) -> None:
    folder = device(tmp_path, program)
    with pytest.raises(UserError, match=message):
        bench_on_device(FolderTransport(tmp_path), str(folder))


def test_a_bundle_without_a_benchmark(tmp_path: Path) -> None:
    (device(tmp_path, "true") / "current" / "bench").unlink()
    with pytest.raises(UserError, match="no bench in the current bundle"):
        bench_on_device(FolderTransport(tmp_path), "my device")


@pytest.mark.parametrize(
    "path", [("machine",), ("runs", 0, "tests", 0, "engines"), ("runs", 0, "peak_rss"), ("benchmark",)]
)
@pytest.mark.parametrize("value", [None, "x", [], -0.5, "9" * 5000], ids=repr)
def test_a_result_with_a_bad_field_is_refused(path: tuple, value: Any) -> None:
    result = json.loads(json.dumps(RESULT))
    place = result
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(UserError, match="is no result of duomem bench"):
        table([("x", result)])


def test_text_of_a_device_stays_in_its_cell() -> None:
    result = {**RESULT, "machine": {**RESULT["machine"], "cpu": "evil | cell\n| row \x1b[2J"}}
    assert "| evil ? cell?? row ?[2J |" in table([("x", result)])
