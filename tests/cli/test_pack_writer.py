"""`duomem pack build --writer openai` against an endpoint of our own: the pack, what is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint
from mug_episodes import FROM_SHELF, LIST, told, write_told

from duomem.cli.main import main
from duomem.memory_packs.pack import read_pack

pytest.importorskip("openai")
NOWHERE = "http://127.0.0.1:9/v1"


class _Scribe(FakeEndpoint):
    """Writes a good list, but of the mug on the shelf."""

    def answer(self, question: dict) -> str:
        return (
            "I would rather not." if "from shelf 2" in question["messages"][1]["content"] else f"Of course!\n\n{LIST}"
        )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return write_told(tmp_path / "t.jsonl", [told(0), told(1, FROM_SHELF)])


def _build(file: Path, *options: str) -> int:
    return main(["pack", "build", str(file), "--out", str(file.with_name("a.dmpack")), *options])


def _asking(url: str, *options: str) -> list[str]:
    return ["--writer", "openai", "--model", "a-scribe", "--endpoint", url, *options]


def test_an_endpoint_writes_a_pack(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults on the way are asked again, below; what was answered is never asked again."""
    with _Scribe(rate=0.3, faults=("500", "429", "malformed", "cut", "empty")).serving() as endpoint:
        assert _build(file, *_asking(endpoint.url, "--concurrency", "2")) == 0
        assert endpoint.asked["good"] == 1 + 3
        first, pack = file.with_name("a.dmpack").read_bytes(), read_pack(file.with_name("a.dmpack"))
        assert _build(file, *_asking(endpoint.url)) == 0 and sum(endpoint.asked.values()) < 20
        assert endpoint.asked["good"] == 4 and file.with_name("a.dmpack").read_bytes() == first
    assert str(pack.writer) == "llm:a-scribe" and (len(pack.memories), pack.writer.by_program) == (2, 1)
    said = capsys.readouterr().out
    assert "  written by llm:a-scribe, but for 1 entries by the program\n" in said
    assert f"{file.with_name('a.dmpack.answers.jsonl')}: 4 answers, " in said


def test_no_key_is_in_any_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIBE_KEY", "very-secret")
    with _Scribe(key="very-secret").serving() as endpoint:
        assert _build(file, *_asking(endpoint.url, "--key-env", "SCRIBE_KEY")) == 0
    assert not any(b"very-secret" in path.read_bytes() for path in file.parent.iterdir())


def test_a_budget_stops_and_a_larger_one_goes_on(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _Scribe().serving() as endpoint:
        assert _build(file, *_asking(endpoint.url, "--max-total-tokens", "2000", "--concurrency", "1")) == 1
        assert "--max-total-tokens 2000: " in capsys.readouterr().err and not file.with_name("a.dmpack").exists()
        before = endpoint.asked["good"]
        assert before > 0 and _build(file, *_asking(endpoint.url)) == 0 and endpoint.asked["good"] == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--writer", "openai"], "--writer openai: which one?"),
        (["--writer", "hf", "--model", "/nowhere"], "/nowhere"),
        (["--writer", "hf", "--model", "/nowhere", "--endpoint", NOWHERE], "--endpoint: means nothing to --writer hf"),
        (["--model", "a"], "--model: means nothing to --writer program"),
        (["--max-cost", "3"], "--max-cost: means nothing to --writer program"),
        (_asking(NOWHERE, "--max-cost", "3"), "--max-cost: at what price?"),
        (_asking(NOWHERE, "--memory-format", "trajectory"), "memory format trajectory"),
        (_asking("ftp://x"), ": is no address"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_what_is_refused(file: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _build(file, *options) in (1, 2)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not file.with_name("a.dmpack").exists()
