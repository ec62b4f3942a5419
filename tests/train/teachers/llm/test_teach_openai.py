"""`duomem teach --teacher openai` against an endpoint on loopback: its faults, a kill, its budget, its command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import FakeEndpoint

from duomem.cli.main import main
from duomem.core.trajectory import read_trajectories

pytest.importorskip("openai", reason="openai is not installed: pip install duomem[llm]")

SECRET = "sk-very-secret-0123456789"
STEPS = 18
"""Enough for some games and too few for others."""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def _generate(folder: Path, count: int) -> Path:
    """A folder of so many train games."""
    from duomem.core.errors import GameError
    from duomem.train.games.generate import generate

    try:
        for _ in generate(folder, 11, {"train": count, "valid_seen": 0, "valid_unseen": 0}):
            pass
    except GameError as e:
        pytest.skip(str(e))
    return folder


@pytest.fixture(scope="module")
def many_games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 train games."""
    return _generate(tmp_path_factory.mktemp("many"), 40)


def _words(games: Path, endpoint: FakeEndpoint, out: Path, *more: str) -> list[str]:
    words = ["teach", "--teacher", "openai", "--model", "fake", "--endpoint", endpoint.url, "--out", str(out)]
    return [*words, "--games", str(games), "--max-steps", str(STEPS), "--timeout", "5", *more]


def _rows(out: Path) -> list[dict[str, Any]]:
    """The file's rows without the times in them."""
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [{**row, "usage": {k: v for k, v in row["usage"].items() if k != "seconds"}} for row in rows]


@pytest.fixture(scope="module")
def quiet(many_games: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What 40 games give without a fault."""
    out = tmp_path_factory.mktemp("quiet") / "t.jsonl"
    with FakeEndpoint().serving() as fake:
        assert main(_words(many_games, fake, out)) == 0
    return _rows(out)


def test_every_fault_leaves_the_same_file(many_games: Path, tmp_path: Path, quiet: list[dict[str, Any]]) -> None:
    """A tenth of all answers fail: no episode is lost, none doubled, and every command is the same."""
    out = tmp_path / "t.jsonl"
    with FakeEndpoint(0.1, hang=30).serving() as fake:
        assert main(_words(many_games, fake, out, "--timeout", "1")) == 0
    asked = Counter(fake.asked)
    good = asked.pop("good")
    assert 0.07 * good < sum(asked.values()) < 0.16 * good and len(asked) >= 12
    assert _rows(out) == quiet and len(quiet) == 40 == len({row["game"] for row in quiet})
    assert 10 <= sum(row["won"] for row in quiet) <= 35


@pytest.mark.slow
def test_many_episodes_with_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth of all answers fail, and the file is that of a run without a fault. $DUOMEM_EPISODES: 1000 for the bar,
    which takes a quarter of an hour.
    """
    count = int(os.environ.get("DUOMEM_EPISODES", "100"))
    games, found = _generate(tmp_path / "games", count), {}
    for rate in (0.0, 0.1):
        out = tmp_path / f"{rate}.jsonl"
        started = time.monotonic()
        with FakeEndpoint(rate, hang=30).serving() as fake:
            assert main(_words(games, fake, out, "--timeout", "2")) == 0
        found[rate] = _rows(out)
        won = sum(row["won"] for row in found[rate])
        with capsys.disabled():
            print(f"\n{rate:.0%} faults: {won} won, {time.monotonic() - started:.0f} s, {dict(fake.asked)}")
    assert found[0.0] == found[0.1] and len({row["game"] for row in found[0.1]}) == len(found[0.1]) == count


def test_a_kill_loses_and_repeats_nothing(many_games: Path, tmp_path: Path, quiet: list[dict[str, Any]]) -> None:
    """SIGKILL in the middle, then Ctrl-C; what was finished by then is not asked for again."""
    out, partial = tmp_path / "t.jsonl", tmp_path / "t.jsonl.partial"
    with FakeEndpoint(delay=0.01).serving() as fake:
        kept: list[str] = []
        for least, sign in ((3, signal.SIGKILL), (8, signal.SIGINT)):
            words = [sys.executable, "-m", "duomem.cli.main", *_words(many_games, fake, out, "--limit", "16")]
            process = subprocess.Popen(
                words,
                env=dict(os.environ),
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            deadline = time.monotonic() + 120
            while not partial.exists() or partial.read_bytes().count(b"\n") <= least:
                assert process.poll() is None and time.monotonic() < deadline, process.stderr
                time.sleep(0.01)
            process.send_signal(sign)
            _, said = process.communicate(timeout=60)
            if sign == signal.SIGINT:
                assert process.returncode == 130 and said.startswith("duomem: interrupted: ") and said.count("\n") == 1
            lines = [line for line in partial.read_text().splitlines(keepends=True) if line.endswith("\n")]
            assert lines[: len(kept)] == kept and not out.exists()
            kept = lines
        fake.begun.clear()
        assert main(_words(many_games, fake, out, "--limit", "16")) == 0
    rows = _rows(out)
    games = {row["game"] for row in rows}
    assert len(games) == len(rows) == 16 and rows == [row for row in quiet if row["game"] in games]
    assert not partial.exists() and sum(fake.begun.values()) == 16 - (len(kept) - 1)


def test_a_budget(many_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.jsonl"
    with FakeEndpoint().serving() as fake:
        words = _words(many_games, fake, out, "--limit", "12")
        assert main([*words, "--max-cost", "0.4", "--price-in", "1", "--price-out", "5"]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "--max-cost 0.4: 0." in said and " of 12 games are done and kept" in said
        spent = [json.loads(line)["usage"] for line in (tmp_path / "t.jsonl.partial").read_text().splitlines()[1:]]
        assert 0 < len(spent) < 12
        assert sum(u["prompt_tokens"] + 5 * u["completion_tokens"] for u in spent) <= 0.4e6
        assert main(words) == 0
    assert len(_rows(out)) == 12 and "12 train games" in capsys.readouterr().out


def test_the_key_is_written_nowhere(
    many_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    for demanded, status in ((SECRET, 0), ("another", 1)):
        out = tmp_path / str(status) / "t.jsonl"
        with FakeEndpoint(key=demanded).serving() as fake:
            assert main(_words(many_games, fake, out, "--limit", "2", "--key-env", "MY_KEY")) == status
    told = capsys.readouterr()
    assert "status 401" in told.err and SECRET not in told.err + told.out
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2 and not any(SECRET in path.read_text() for path in files)


def test_the_environment_names_the_endpoint(
    many_games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "t.jsonl", ["teach", "--teacher", "openai", "--model", "fake", "--games", str(many_games)]
    words += ["--limit", "1", "--out", str(out)]
    assert main(words) == 1 and "$OPENAI_API_KEY: no key" in capsys.readouterr().err
    with FakeEndpoint().serving() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        assert main([*words, "--style", "action", "--no-list-admissible", "--max-steps", "30"]) == 0
    (played,) = read_trajectories(out)
    assert played.player == "llm:fake"
    assert "Admissible" not in json.dumps(fake.questions[-1]["messages"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--teacher", "openai"], "Give --model"),
        (["--teacher", "openai", "--model", "m", "--noise-rate", "0.1"], "--noise-rate: means nothing"),
        (["--teacher", "openai", "--model", "m", "--jobs", "2"], "--jobs: means nothing"),
        (["--endpoint", "http://x/v1"], "--endpoint: means nothing to --teacher expert"),
        (["--tries", "3"], "--tries: means nothing to --teacher expert"),
        (["--teacher", "openai", "--model", "m", "--tries", "3"], "at --temperature 0 all are alike"),
        (["--teacher", "openai", "--model", "m", "--solutions", "3"], "needs at least as many --tries"),
        (["--teacher", "openai", "--model", "m", "--style", "haiku"], "--style haiku: is none of"),
        (["--teacher", "openai", "--model", "m", "--endpoint", "x:1"], "--endpoint x:1: is no address"),
        (["--teacher", "openai", "--model", "m", "--max-cost", "3"], "at what price"),
        (["--teacher", "openai", "--model", "m", "--max-cost", "nan"], "nan is not a number"),
        (["--teacher", "openai", "--model", "m", "--timeout", "inf"], "inf is not a number"),
        (["--teacher", "hf", "--model", "absent"], "absent: no config.json"),
        (["--teacher", "hf", "--model", ".", "--key-env", "A"], "--key-env: means nothing to --teacher hf"),
    ],
    ids=lambda words: " ".join(words),
)
def test_what_does_not_fit_together(
    generated_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    out = tmp_path / "t.jsonl"
    assert main(["teach", "--games", str(generated_games), "--out", str(out), *more]) in (1, 2)
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and not any(tmp_path.iterdir())
