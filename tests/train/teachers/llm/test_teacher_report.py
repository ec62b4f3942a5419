"""A teacher's report counts games, tries, tokens and money, and shows what a model wrote as text alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from episodes import episode

from duomem.cli.main import main
from duomem.core.chat.budget import Prices
from duomem.core.errors import UserError
from duomem.core.stats import wilson
from duomem.core.trajectory import Step, Trajectory, Usage
from duomem.train.teachers.llm.report import read_report

EVIL = "<script>alert(1)</script>\x1b[31m\u202e\"'&"


def _write(path: Path, *tries: tuple[int, int, bool, str]) -> Path:
    """tries: (game, seed, won, the letters of its commands); the even games are of another task type."""
    rows = []
    for game, seed, won, commands in tries:
        t = replace(episode(game, won=won, commands=tuple(commands)), seed=seed, player="llm:m")
        t = replace(
            t, task_type="pick_two_obj_and_place" if game % 2 else t.task_type, usage=Usage(1, 2, 1000, 50, 2.0)
        )
        rows.append(t.to_json() | {"ended": "won" if won else "steps"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Game 0: lost, then two solutions; game 1: lost; game 2: won."""
    return _write(
        tmp_path / "t.jsonl",
        *((0, 0, False, "x"), (0, 1, True, "ab"), (0, 2, True, "abc"), (1, 0, False, "x"), (2, 0, True, "ab")),
    )


def test_what_is_counted(file: Path) -> None:
    report = read_report(file, Prices(2, 10))
    assert list(report.rows) == ["pick_and_place_simple", "pick_two_obj_and_place", "all"]
    row = report.rows["all"]
    assert (row.games, row.won, row.tries, row.solutions) == (3, 2, 5, 3)
    assert (row.success, (row.low, row.high)) == (2 / 3, wilson(2, 3))
    assert (row.prompt_tokens, row.completion_tokens, row.seconds, row.steps) == (5000, 250, 2.0, 9 / 5)
    assert row.cost == pytest.approx((5000 * 2 + 250 * 10) / 1e6)
    assert report.rows["pick_two_obj_and_place"].won == 0 and report.rows["pick_and_place_simple"].games == 2
    assert report.ended == {"won": 3, "steps": 2} and report.players == ("llm:m",)
    assert [t.won for t in report.samples] == [True, False, True, False]


def test_a_file_of_a_program_is_reported_too(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(episode(i, won=i > 0).to_json()) + "\n" for i in range(3)))
    row = read_report(path).rows["all"]
    assert (row.games, row.won, row.tries, row.prompt_tokens, row.cost) == (3, 2, 3, 0, 0)
    (tmp_path / "none.jsonl").write_text("")
    assert read_report(tmp_path / "none.jsonl").rows["all"].games == 0


@pytest.mark.parametrize(("field", "value"), [("ended", "x"), ("ended", []), ("usage", {"tries": 1})])
def test_a_bad_line_is_named(file: Path, field: str, value: Any) -> None:
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, json.dumps(json.loads(rest[0]) | {field: value})]) + "\n")
    with pytest.raises(UserError, match=rf"t\.jsonl: line 2: field {field} "):
        read_report(file)


def test_the_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trajectories", "report", str(file), "--price-in", "2", "--price-out", "10"]
    assert main([*words, "--samples", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[3].split()) == "all 66.7% 2/3 20.8% - 93.9% 5 3 1.8 5,000 250 0.0125 2.0"
    assert lines[4] == "episodes: 2 no steps left, 3 won" and lines[6] == "won, try 1: put a mug in desk."
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["all"]["solutions"] == 3


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "onerror", "onclick")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A file in which every text that a model or a game could choose is an attack."""
    step = Step(EVIL, ("look",), EVIL, thought=EVIL)
    t: Trajectory = replace(episode(0), steps=(step,), goal=EVIL, intro=EVIL, last=EVIL, player=EVIL, task_type=EVIL)
    path = tmp_path / "evil.jsonl"
    path.write_text(json.dumps(t.to_json()) + "\n")
    return path


def test_the_page_is_one_file_that_runs_nothing(evil: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    assert main(["trajectories", "report", str(evil), "--html", str(out)]) == 0
    page = _Page(out.read_text())
    assert "script" not in page.tags and page.links == [] and "url(" not in out.read_text()
    assert page.text.count("<script>alert(1)</script>") >= 6 and "\x1b" not in page.text and "\u202e" not in page.text
    assert "default-src 'none'" in out.read_text()


def test_the_terminal_is_told_printable_lines(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trajectories", "report", str(evil)]) == 0
    out = capsys.readouterr().out
    assert "<script>" in out and all(line.isprintable() for line in out.splitlines())


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: apt-get install chromium")
def test_a_browser_shows_it(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    assert main(["trajectories", "report", str(file), "--html", str(out)]) == 0
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", out.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert re.search(r"<td>66\.7%</td><td>2/3</td>", done.stdout)
