"""Pages of `duomem view` and a folder of `duomem compare`, made for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from played_rows import played

from duomem.cli.main import main
from duomem.report.condition import Condition, read_result
from duomem.report.table import Page
from duomem.report.write import make_page, write_page


def page_of(*runs: Path, out: Path) -> str:
    """The text of the page of `runs`, written to `out`."""
    assert main(["view", *map(str, runs), "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    """The numbers in a page."""
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


def compared(folder: Path) -> Page:
    """Two protocols, a student of two seeds, a baseline in both panels, and a teacher whose file is elsewhere."""
    at = folder / "episodes"
    random = (played(at / "random.jsonl", "LLLLLL"),)
    seeds = (played(at / "seed0.jsonl", "WWWWWL"), played(at / "seed1.jsonl", "WWWWWW"))
    teacher = (played(folder.parent / "teacher.jsonl", "WWWWWW"),)
    conditions = [
        Condition("base, no memory", "nothing", (played(at / "base.jsonl", "WLLLLL"),), ("",), "free", "base", "none"),
        Condition("LoRA, no memory", "LoRA: programmatic expert", seeds, ("0", "1"), "free", "LoRA", "none"),
        Condition("random", "nothing", random, panel="free"),
        Condition("base, no memory", "nothing", (played(at / "c.jsonl", "WWLLLL"),), ("",), "constrained", "base", "x"),
        Condition("random", "nothing", random, panel="constrained"),
        Condition("teacher", "itself", teacher, panel="constrained"),
    ]
    page = make_page("Students compared", "", [read_result(c) for c in conditions], ["duomem", "compare"], {})
    write_page(folder, "compare", page)
    return page
