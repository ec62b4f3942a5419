"""`duomem serve` as a user types it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main

httpx = pytest.importorskip("httpx")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["absent"], 1, "absent: no such bundle folder"),
        (["BUNDLE", "--host", "0.0.0.0"], 1, "--host 0.0.0.0: others can reach this address, so a token is needed"),
        (
            ["BUNDLE", "--token-env", "NO_SUCH_TOKEN"],
            1,
            "--token-env NO_SUCH_TOKEN: this environment variable is not set",
        ),
        (["BUNDLE", "--port", "TAKEN"], 1, "cannot listen there"),
        (["BUNDLE", "--port", "70000"], 2, "70000 is not in the range"),
        (["BUNDLE", "--context", "9999"], 1, "--context 9999"),
        (["BUNDLE", "--pack", "absent.dmpack"], 1, "absent.dmpack: no such memory pack"),
        (["BUNDLE", "--expect", "0" * 64], 1, "not the expected"),
        (["BUNDLE", "--queue", "0"], 2, "--queue"),
    ],
)
def test_a_mistake_is_one_line(
    tiny_bundle: Path, taken: int, capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    pytest.importorskip("uvicorn")
    words = {"BUNDLE": str(tiny_bundle), "TAKEN": str(taken)}
    assert main(["serve", *(words.get(word, word) for word in arguments)]) == status
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("duomem: error: ") and said in err and err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from duomem.device.serve import server

    monkeypatch.setattr(server, "find_spec", lambda name: None)
    assert main(["serve", str(tiny_bundle), "--port", "0"]) == 1
    assert "pip install 'duomem[serve]'" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tiny_bundle: Path, number: signal.Signals) -> None:
    """As on a device: without torch, and with a token that is told nowhere."""
    pytest.importorskip("uvicorn")
    code = "import sys; sys.modules['torch'] = None; from duomem.cli.main import main; sys.exit(main(sys.argv[1:]))"
    token = "a-token-for-this-test"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(tiny_bundle), "--port", "0", "--token-env", "MY_TOKEN"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MY_TOKEN": token, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("tiny is served at http://127.0.0.1:"), process.communicate()
        headers = {"Authorization": f"Bearer {token}"}
        answer: Any = httpx.post(
            first.split()[4] + "/completions",
            json={"model": "tiny", "prompt": "Once", "max_tokens": 4},
            headers=headers,
            trust_env=False,
            timeout=60,
        )
        assert answer.json()["usage"]["completion_tokens"] <= 4
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "") and token not in first
