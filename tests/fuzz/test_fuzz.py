"""A short run of the fuzzer, `make fuzz` for a long one; and that it tells what is wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import fuzz as fuzzer
import pytest
from fuzz import fuzz, outcome
from reader import Reader, state
from readers import READERS, Devices

from duomem.core.errors import UserError

INPUTS = 40


@pytest.mark.parametrize("name", [kind.name for kind in READERS])
def test_every_input_is_read_or_refused(name: str) -> None:
    if name == "games":
        pytest.importorskip("alfworld", reason="alfworld is not installed")
    rows = list(fuzz(name, range(INPUTS)))
    assert [row["seed"] for row in rows] == list(range(INPUTS))
    assert not [row for row in rows if row["outcome"] not in ("read", "refused")]
    assert any(row["outcome"] == "refused" for row in rows) or name == "devices"


class _Wrong(Reader):
    """Takes "x"; does with every other input what the number says."""

    name = "wrong"
    sample = b"x"

    def read(self, file: Path) -> None:
        how = os.environ.get("HOW", "")
        if how == "traceback":
            raise ValueError("no\nline")
        if how == "message":
            error = UserError("")
            error.args = ("\x1b[2J",)
            raise error
        if how == "slow":
            while fuzzer.time.process_time() < self.until:
                pass

    until = 0.0


@pytest.mark.parametrize(
    ("how", "said"), [("", "read"), ("traceback", "ValueError: no"), ("message", "message: '"), ("slow", "slow: ")]
)
def test_what_is_wrong_is_told(how: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOW", how)
    monkeypatch.setattr(fuzzer, "SECONDS", 0.05)
    reader = _Wrong(tmp_path)
    reader.until = fuzzer.time.process_time() + 0.2
    assert outcome(reader, tmp_path / "input", 1).startswith(said)


def test_an_input_that_kills_its_process_is_told(tmp_path: Path) -> None:
    """And the next ones are read."""
    script = tmp_path / "fuzz.py"
    script.write_text(
        "import json, os, signal, sys\n"
        "for seed in range(int(sys.argv[3]), int(sys.argv[4])):\n"
        "    if seed == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    print(json.dumps({'reader': 'x', 'seed': seed, 'outcome': 'read'}), flush=True)\n"
    )
    rows = list(fuzzer.fuzz("x", range(5), script))
    assert [row["outcome"].split(":")[0] for row in rows] == ["read", "read", "killed its process", "read", "read"]
    assert f"{-signal.SIGKILL}" in rows[2]["outcome"]


def test_the_same_number_is_the_same_input(tmp_path: Path) -> None:
    reader = Devices(tmp_path)
    made = [reader.damage(state(reader, seed)) for seed in range(20)]
    assert made == [reader.damage(state(reader, seed)) for seed in range(20)] and len(set(made)) > 15
