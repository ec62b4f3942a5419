"""The page says what was measured, by what it was taught, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem.core.files import sha256_file
from duomem.core.resumable_jsonl import sidecar_of
from duomem.report.condition import Condition, read_result
from duomem.report.table import Page
from duomem.report.write import make_page, write_page


@pytest.fixture
def page(write: Callable[..., Path]) -> Page:
    files = (write("l0.jsonl", "WWWWWWWW"), write("l1.jsonl", "WWWWWWLL"))
    sidecar_of(files[0]).write_text(json.dumps({"bundle": "b" * 64, "pack": None, "games": "9" * 64}))
    return make_page(
        "The grid",
        "memory",
        [
            read_result(
                Condition("base", "nothing", (write("b.jsonl", "WLLLLLLL"),), panel="free", series="base", at="none")
            ),
            read_result(Condition("LoRA", "LoRA: programmatic expert", files, ("0", "7"), "free", "LoRA", "none")),
            read_result(Condition("teacher", "itself", (write("t.jsonl", "WWWWWWWW", costs=False),), panel="free")),
        ],
        ["duomem", "compare", "--out", "my runs"],
        {"games": "8 of valid_seen"},
    )


def test_markdown(page: Page, tmp_path: Path) -> None:
    lines = page.markdown().splitlines()
    assert "| base | nothing | 1 of 8 | 12.5% | 2.2% - 47.1% | 4.5 | 100 | 2.0 |" in lines
    assert (
        "| LoRA | LoRA: programmatic expert | 8, 6 of 8 | 87.5% (75.0% - 100.0%, 2 seeds) | 52.9% - 97.8% "
        "| 4.5 | 100 | 2.0 |"
    ) in lines
    assert "| teacher | itself | 8 of 8 | 100.0% | 67.6% - 100.0% | 4.5 | - | - |" in lines
    assert "| base | LoRA | 0 | 7 | 0.016 |" in lines
    assert "duomem compare --out 'my runs'" in lines and "- games: 8 of valid_seen" in lines
    digest = sha256_file(tmp_path / "l0.jsonl")[:16]
    assert f"| LoRA | free | 0 | {'b' * 16} | - | {'9' * 16} | {digest} |" in lines
    assert any(line.startswith("| LoRA | free | 7 | - |") for line in lines)


def test_written(page: Page, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install duomem[plot]")
    write_page(tmp_path / "out", "compare", page)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["compare.json", "compare.md", "compare.png"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == json.loads(json.dumps(page.to_json()))
    assert "![The grid](compare.png)" in (tmp_path / "out" / "compare.md").read_text()
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_picture(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duomem.report.write.can_draw", lambda: False)
    write_page(tmp_path / "out", "compare", page)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["compare.json", "compare.md"]
    assert "![" not in (tmp_path / "out" / "compare.md").read_text()
