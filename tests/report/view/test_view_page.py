"""The page of `duomem view` is one small file that loads nothing, and its tables are the reports' own numbers."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from played_rows import HOSTILE, hostile, played, row, write_rows
from viewed import data_of, page_of

from duomem.cli.main import main
from duomem.cli.text import score_table
from duomem.core.stats import mcnemar
from duomem.core.trajectory import from_json
from duomem.device.agent.evaluate import read_episodes, summarize
from duomem.train.teachers.llm.report import read_report


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_one_file_that_loads_nothing(tmp_path: Path) -> None:
    text = page_of(played(tmp_path / "a.jsonl", "WL"), played(tmp_path / "b.jsonl", "WW"), out=tmp_path / "v.html")
    for tag, attributes in _Page(text).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "template")
        assert not {"src", "href", "srcset", "action", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy[1]
    code = re.sub(r'<script type="application/.*?</script>', "", text, flags=re.S)
    assert not re.search(r"\w://|url\(|@import|fetch\(|import\(|XMLHttp|WebSocket|innerHTML|outerHTML|eval\(", code)
    assert not re.search(r"insertAdjacentHTML|document\.write|DOMParser|setAttribute\([\"']on", code)


def test_hostile_words_are_data(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "<b>.jsonl", [hostile()])
    text = page_of(file, out=tmp_path / "v.html")
    kinds = [attributes.get("type") for tag, attributes in _Page(text).elements if tag == "script"]
    assert kinds == ["application/json", "application/gzip", "application/gzip", None]
    assert "<" not in text.split('id="data">')[1].split("</script>")[0]
    assert not set(text) & set("\u2028\u2029\u202e\x00\x1b")
    assert "<b>" not in text and "&lt;b&gt;" in text
    assert data_of(text)["sets"][0]["scores"][0]["name"] == HOSTILE
    packed = re.search(r'id="records-0">([^<]*)<', text)
    assert packed and json.loads(gzip.decompress(base64.b64decode(packed[1]))) == [hostile()]


def test_the_table_is_evals(tmp_path: Path) -> None:
    file = played(tmp_path / "a.jsonl", "WWLWWLWWWLWWWWWLW")
    rows = data_of(page_of(file, out=tmp_path / "v.html"))["sets"][0]["scores"]
    scores = summarize(read_episodes(file))
    lines = [line.split("  ") for line in score_table(scores).splitlines()[1:]]
    printed = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert [[r["name"], *r["cells"][:4]] for r in rows] == [line[:5] for line in printed]
    assert [r["cells"][4:] for r in rows] == [[f"{s.seconds:.2f}", f"{s.tokens:,.0f}"] for s in scores.values()]
    assert [(r["success"], r["low"], r["high"]) for r in rows] == [
        (round(s.success, 4), round(s.low, 4), round(s.high, 4)) for s in scores.values()
    ]


def test_the_table_of_a_teacher_counts_games(tmp_path: Path) -> None:
    rows = [row(0, won=False), row(0) | {"seed": 1}, row(1, won=False), row(2)]
    file = write_rows(tmp_path / "t.jsonl", rows)
    scores = data_of(page_of(file, out=tmp_path / "v.html"))["sets"][0]["scores"]
    report = read_report(file).rows
    assert [s["name"] for s in scores] == list(report) and scores[-1]["all"]
    for score, told in zip(scores, report.values(), strict=True):
        interval = f"{told.low:.1%} - {told.high:.1%}"
        assert score["cells"][:4] == [f"{told.success:.1%}", f"{told.won}/{told.games}", interval, f"{told.steps:.1f}"]
    assert scores[-1]["cells"][1] == "2/3"


def test_two_runs_are_compared_on_the_games_both_played(tmp_path: Path) -> None:
    one = played(tmp_path / "a.jsonl", "WWWWWWWWWWLL")
    two = played(tmp_path / "b.jsonl", "LLLLLLLLWWWL" + "W")
    pair = data_of(page_of(one, two, out=tmp_path / "v.html"))["pairs"]["0,1"]
    total = pair["rows"][-1]
    assert (total["n"], total["both"], total["first"], total["second"]) == (12, 2, 8, 1)
    assert total["p"] == f"{mcnemar(8, 1):.3f}" and pair["alone"] == [0, 1]
    assert sum(r["first"] for r in pair["rows"][:-1]) == 8 and len(pair["rows"]) == 4


def test_a_type_named_all_is_not_the_sum(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [row(0) | {"task_type": "all"}, row(1, won=False)])
    scores = data_of(page_of(file, out=tmp_path / "v.html"))["sets"][0]["scores"]
    assert [(s["name"], s.get("all", False), s["cells"][1]) for s in scores if s["name"] == "all"] == [
        ("all", False, "1/1"),
        ("all", True, "1/2"),
    ]


def _long_episodes() -> list[dict[str, Any]]:
    """140 lost episodes of 50 steps with as many words and commands as ALFWorld's rooms have."""
    chance = random.Random(0)
    things = [f"{name} {n}" for name in ("mug", "drawer", "countertop", "apple", "saltshaker") for n in range(1, 9)]
    rows = []
    for i in range(140):
        told = row(i, won=False, steps=50)
        for step, choice in zip(told["steps"], told["choices"], strict=True):
            seen = ", ".join(f"a {thing}" for thing in chance.sample(things, 10))
            commands = sorted(f"go to {thing}" for thing in chance.sample(things, 25))
            step |= {"observation": f"You arrive. You see {seen}.", "admissible": commands, "action": commands[0]}
            choice["candidates"] = [[command, round(chance.random() / 9, 4)] for command in commands[:8]]
        rows.append(told)
    return rows


def test_140_lost_episodes_are_below_two_megabytes(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", _long_episodes())
    assert file.stat().st_size > 7_000_000
    assert len(page_of(file, out=tmp_path / "v.html")) < 2_000_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks any episode"),
        ("{}\n", "line 1: field schema is None"),
        ("x\n", "line 1 of this episode file is not JSON"),
        ("[" * 100_000 + "\n", "line 1 of this episode file is not JSON"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    assert main(["view", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "v.html")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and f"{tmp_path / 'a.jsonl'}: {said}" in err
    assert not (tmp_path / "v.html").exists()


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / "absent"), "--out", str(tmp_path / "v.html")]) == 1
    assert capsys.readouterr().err == f"duomem: error: {tmp_path / 'absent'}: no such run: check the path\n"


def test_every_row_of_the_hostile_file_is_a_trajectory() -> None:
    assert from_json(hostile(), "").goal == HOSTILE
