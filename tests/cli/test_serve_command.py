"""`duomem serve` as a user types it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.device.engine.tvm_engine import TvmEngine

openai = pytest.importorskip("openai")
STEM = [(7 * i) % 251 for i in range(120)]
PROMPTS = [STEM, [*STEM, 1, 2, 3], [*STEM[:100], 9, 8, 7]]


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
def test_a_signal_ends_it_cleanly_after_the_engines_own_answers(tiny_bundle: Path, number: signal.Signals) -> None:
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
        client = openai.OpenAI(base_url=first.split()[4], api_key=token, max_retries=0)
        for prompt in PROMPTS:
            answer = client.completions.create(
                model="tiny", prompt=prompt, max_tokens=20, temperature=0, extra_body={"return_token_ids": True}
            )
            assert answer.choices[0].token_ids == _offline(tiny_bundle, prompt, 20)
        assert answer.usage.prompt_tokens_details.cached_tokens == 96
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "") and token not in first
    assert out == "stopping: requests have 30 s to end\n"


def _offline(bundle: Path, prompt: list[int], n: int) -> list[int]:
    """The likeliest tokens after `prompt`, by the engine itself, which is given the prompt whole."""
    engine = TvmEngine.load(bundle, max_sessions=1)
    session = engine.session()
    logits, written = session.prefill(prompt), []
    while len(written) < n:
        written.append(int(logits.argmax()))
        if written[-1] in engine.bundle.eos_token_ids:
            break
        logits = session.decode(written[-1])
    return written
