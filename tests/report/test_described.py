"""A TOML file of conditions: what is wrong in it is one line, and it is told as a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.report.described import read_description

CONDITION = '[[condition]]\nname = "a"\ntaught = "x"\nepisodes = ["a.jsonl"]\n'


def test_a_page_of_it(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, outcomes in (("a.jsonl", "WLLL"), ("b.jsonl", "WWWL"), ("c.jsonl", "WWWW")):
        write(name, outcomes)
    (tmp_path / "budget.toml").write_text(
        'title = "Budget"\naxis = "minutes"\n' + CONDITION + 'series = "memory"\nat = 5\n'
        '[[condition]]\nname = "b"\ntaught = "x"\nepisodes = ["b.jsonl", "c.jsonl"]\nseries = "memory"\nat = 15.5\n'
    )
    assert main(["report", "budget.toml", "--out", "out"]) == 0
    page = capsys.readouterr().out
    assert "| a | x | 1 of 4 | 25.0% |" in page and "| b | x | 3, 4 of 4 | 87.5% (75.0% - 100.0%, 2 seeds) |" in page
    assert main(["report", "budget.toml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["at"], r["seeds"]) for r in found["conditions"]] == [(5, [""]), (15.5, ["0", "1"])]
    assert found == json.loads((tmp_path / "out" / "budget.json").read_text()) | {"command": found["command"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"holds no \[\[condition\]\]"),
        ("condition = 3", r"holds no \[\[condition\]\]"),
        (f"titel = 'x'\n{CONDITION}", "unknown field titel"),
        (f"title = 3\n{CONDITION}", "title and axis must be texts"),
        ('[[condition]]\nname = "a"\ntaught = "x"', "condition 1: field episodes"),
        (CONDITION + "colour = 3", "condition 1: unknown field colour"),
        (CONDITION + "series = 3", "condition 1: field series must be a str"),
        (CONDITION + "at = true", "field at must be a str or int or float"),
        (CONDITION + 'seeds = ["0", "1"]', "1 episodes but 2 seeds"),
        ('[[condition]]\nname = "a"\ntaught = "x"\nepisodes = []', "lists of texts"),
        ('[[condition]]\nname = "a"\ntaught = "x"\nepisodes = [3]', "lists of texts"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UserError, match=rf"r\.toml: .*{said}"):
        read_description(tmp_path / "r.toml")
