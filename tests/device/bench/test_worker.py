"""An engine in a child: its answers, its noise, its errors and its death."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from duomem.core.errors import UserError
from duomem.device.bench.worker import Worker

FAKE = """
import os, signal, subprocess, sys, time
import numpy as np
from duomem.core.errors import UserError
from duomem.device.bench.worker import serve

class FakeEngine:
    def facts(self):
        return {"threads": [os.environ["TVM_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]], "pid": os.getpid()}
    def prefill(self, tokens):
        print("noise on standard output")
        subprocess.run(["echo", "more of it"])
        return 0.5 * len(tokens)
    def decode(self, tokens):
        os.kill(os.getpid(), signal.SIGILL)
    def extend(self, tokens):
        raise UserError("extend: too long")
    def logits(self, tokens):
        return np.outer(tokens, np.ones(3, np.float32))

def load(options):
    if options.get("bad"):
        raise UserError("no such file: give another")
    if options.get("broken"):
        raise ValueError("a fault of the engine")
    return FakeEngine()

serve(load)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module that serves a fake engine."""
    (tmp_path / "fake_engine.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return "fake_engine"


def test_calls_are_answered_whatever_the_engine_prints(fake: str) -> None:
    with Worker("fake", fake, {}, threads=3) as worker:
        assert worker.facts()["threads"] == ["3", "3"]
        assert [worker.prefill([1] * n) for n in (2, 4)] == [1.0, 2.0]
        np.testing.assert_array_equal(worker.logits([1, 2]), [[1, 1, 1], [2, 2, 2]])
        assert 5e6 < worker.peak_rss() < 5e8
        assert worker.load_seconds > 0


def test_the_child_ends_with_the_worker(fake: str) -> None:
    with Worker("fake", fake, {}, threads=1) as worker:
        pid = worker.facts()["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_users_error_comes_through_and_the_child_goes_on(fake: str) -> None:
    with Worker("fake", fake, {}, threads=1) as worker:
        with pytest.raises(UserError, match=r"^extend: too long$"):
            worker.extend([1])
        assert worker.prefill([1, 1]) == 1.0


def test_an_engine_that_cannot_load(fake: str) -> None:
    with pytest.raises(UserError, match=r"^no such file: give another$"):
        Worker("fake", fake, {"bad": 1}, threads=1)


@pytest.mark.parametrize(("options", "said"), [({}, r"SIGILL"), ({"broken": 1}, r"exit 1\): ValueError: a fault")])
def test_a_dead_child_is_one_line_with_its_reason(fake: str, options: dict[str, int], said: str) -> None:
    with (
        pytest.raises(UserError, match=rf"^fake: its process ended \({said}") as caught,
        Worker("fake", fake, options, threads=1) as worker,
    ):
        worker.decode([1])
    assert "\n" not in str(caught.value)


def test_peak_memory_is_the_childs_own(fake: str) -> None:
    """Not that of the process that started it, which Linux's ru_maxrss would remember."""
    code = (
        "import sys, numpy as np\nfrom duomem.device.bench.worker import Worker\n"
        "a = np.ones(80_000_000)\n"
        "with Worker('fake', 'fake_engine', {}, 1) as w: print(w.peak_rss())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300e6
