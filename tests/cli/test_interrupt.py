"""Ctrl-C: exit status 130, one line, nothing half-written, no process left, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from episodes import without_times, write_episodes

from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.build import build_pack
from duomem.train.games.generate import generate

TESTS = Path(__file__).parents[1]
# The command with a student that thinks for a while and no compiled model behind it.
EVAL = """
import sys, time
from pathlib import Path
from duomem.cli.main import main
from duomem.device.agent import evaluate
from duomem.device.agent.agent import Agent
from duomem.device.agent.prompt import PromptTokenizer
from fakes import FakeEngine, random_opinion

opinion = random_opinion(300)

def slow(tokens):
    time.sleep(float(sys.argv[2]))
    return opinion(tokens)

evaluate.load_agent = lambda condition: Agent(FakeEngine(slow, 300), PromptTokenizer(Path(sys.argv[1])), "student:fake",
                                              condition.protocol, max_steps=condition.play.max_steps)
sys.exit(main(sys.argv[3:]))
"""


def _start(*command: Any) -> subprocess.Popen[str]:
    """The command as a shell starts it: a process group of its own, which is what Ctrl-C goes to, and that
    signal not ignored, whatever started the tests.
    """
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _interrupt(running: subprocess.Popen[str], partial: Path, rows: int) -> None:
    """Press Ctrl-C once `partial` holds so many rows. The command says so in a line, and all its processes go."""
    deadline = time.monotonic() + 60
    while not partial.is_file() or partial.read_bytes().count(b"\n") <= rows:
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and out == ""
    *progress, last = err.splitlines()
    assert last.startswith("duomem: interrupted: ") and all(" left" in line for line in progress), err
    while _is_alive(running.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_alive(group: int) -> bool:
    """Whether a process of the group is left (multiprocessing's own watcher takes a moment to leave)."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _rows(path: Path) -> list[dict[str, Any]]:
    return [without_times(json.loads(line)) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def many_games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough train games that an expert needs a moment for them."""
    out = tmp_path_factory.mktemp("many")
    for _ in generate(out, 3, {"train": 12, "valid_seen": 0, "valid_unseen": 0}):
        pass
    first = find_games(out, "train")[0]
    for i in range(600):
        folder = first.parents[1] / f"copy_{i}"
        folder.mkdir()
        (folder / first.name).symlink_to(first)
    return out


@pytest.mark.parametrize("jobs", [1, 2])
def test_teach(many_games: Path, tmp_path: Path, jobs: int) -> None:
    command = ["-m", "duomem.cli.main", "teach", "--games", many_games, "--jobs", jobs, "--out"]
    out = tmp_path / "t.jsonl"
    _interrupt(_start(*command, out), tmp_path / "t.jsonl.partial", 20)
    assert sorted(os.listdir(tmp_path)) == ["priors.json", "t.jsonl.partial"]
    kept = _rows(tmp_path / "t.jsonl.partial")[1:]
    assert 20 <= len(kept) < 612
    assert _start(*command, out).communicate()[0].startswith(f"{out}: 612 train games")
    assert _rows(out)[: len(kept)] == kept
    assert sorted(os.listdir(tmp_path)) == ["priors.json", "t.jsonl", "t.jsonl.inputs.json"]


def test_eval(generated_games: Path, byte_tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")

    def command(seconds: float, out: Path) -> list[Any]:
        return [
            "-c",
            EVAL,
            byte_tokenizer,
            seconds,
            "eval",
            tmp_path / "bundle",
            "--games",
            generated_games,
            "--jobs",
            1,
            "--protocol",
            "free",
            "--max-steps",
            3,
            "--out",
            out,
        ]

    out, whole = tmp_path / "e.jsonl", tmp_path / "whole.jsonl"
    _interrupt(_start(*command(0.01, out)), tmp_path / "e.jsonl.partial", 2)
    assert sorted(os.listdir(tmp_path)) == ["bundle", "e.jsonl.partial"]
    for path in (out, whole):
        done = _start(*command(0, path))
        table = done.communicate()[0]
        assert done.returncode == 0 and f"episodes: {path}" in table and "0/6" in table
    assert _rows(out) == _rows(whole) and len(_rows(out)) == 6


def test_train(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    episodes = write_episodes(tmp_path / "t.jsonl")
    build_pack(episodes, tmp_path / "p.dmpack", "p")
    (tmp_path / "s.toml").write_text(
        f'model = "{tiny_model}"\nmax_steps = 60\nrank = 4\ndtype = "float32"\ncompile = false\n'
    )
    command = [
        "-m",
        "duomem.cli.main",
        "train",
        "--config",
        tmp_path / "s.toml",
        "--trajectories",
        episodes,
        "--pack",
        tmp_path / "p.dmpack",
        "--threads",
        1,
        "--out",
        tmp_path / "adapter",
    ]
    _interrupt(_start(*command), tmp_path / "adapter.training" / "log.jsonl", 5)
    assert not (tmp_path / "adapter").exists()
    done = _start(*command)
    assert "60 steps" in done.communicate()[0] and done.returncode == 0
    assert [row["step"] for row in _rows(tmp_path / "adapter" / "log.jsonl")] == list(range(1, 61))
