"""A recorded episode shown again: keys go where they say, on a real terminal too."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from duomem.device.agent.baseline_player import RandomConfig
from duomem.device.agent.evaluate import episode_row
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.watch.record import append_row
from duomem.device.watch.recorded import Recorded, read_recorded
from duomem.device.watch.replay import Replay, replay_in_lines


@pytest.fixture(scope="module")
def record(generated_games: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of 3 steps."""
    path = tmp_path_factory.mktemp("record") / "e.jsonl"
    for file in find_games(generated_games, "train")[:2]:
        append_row(path, episode_row(RandomConfig(max_steps=3).load_player().play(load_game(file), "train")))
    return path


@pytest.fixture
def episodes(record: Path) -> list[Recorded]:
    return list(read_recorded(record))


def test_keys_go_through_steps_and_episodes(episodes: list[Recorded]) -> None:
    replay = Replay(episodes, 0)
    where = []
    for key in ("back", "next", "next", "back", "last", "next", "first", "", "next episode", "next episode", "next"):
        assert replay.press(key)
        where.append((replay.episode, replay.step))
    assert where == [(0, 0), (0, 1), (0, 2), (0, 1), (0, 3), (0, 3), (0, 0), (0, 0), (1, 0), (1, 0), (1, 1)]
    assert replay.press("episode before") and (replay.episode, replay.step) == (0, 0)
    assert not replay.press("quit")


def test_lines_have_every_step(episodes: list[Recorded], capsys: pytest.CaptureFixture[str]) -> None:
    replay_in_lines(episodes[1], False, None)
    out = capsys.readouterr().out
    for step in episodes[1].trajectory.steps:
        assert f"> {step.action}\n" in out
    assert out.endswith(f"{episodes[1].outcome} {episodes[1].cost}\n")


class _Terminal:
    """duomem on a terminal of 80 by 24."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        size = b"\x18\x00\x50\x00\x00\x00\x00\x00"
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "duomem.cli.main", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(theirs)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def until(self, text: str, seconds: float = 60) -> str:
        """What it writes up to `text`."""
        said, end = "", time.monotonic() + seconds
        while text not in said:
            assert time.monotonic() < end, f"{text!r} never came: {said[-2000:]!r}"
            if select.select([self._ours], [], [], 1)[0]:
                try:
                    said += os.read(self._ours, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        return said

    def close(self) -> int:
        status = self.process.wait(30)
        os.close(self._ours)
        return status


def test_it_is_shown_on_a_terminal_by_keys(record: Path) -> None:
    terminal = _Terminal("replay", str(record), "--episode", "1")
    terminal.until("q: quit")
    terminal.press(b"\x1b[C")
    terminal.until("step 1")
    terminal.press(b"j")
    terminal.until("step 2")
    terminal.press(b"n")
    terminal.until("2/2")
    terminal.press(b"G")
    terminal.until("in 3 steps")
    terminal.press(b"q")
    assert terminal.close() == 0


def test_it_is_shown_timed(record: Path) -> None:
    terminal = _Terminal("replay", str(record), "--delay", "0.05")
    terminal.until("in 3 steps")
    assert terminal.close() == 0


def test_rows_are_those_of_an_evaluation(record: Path) -> None:
    assert "memory_texts" in json.loads(record.read_text().splitlines()[0])
