"""A pack's page is one file that loads nothing, says what the pack says as text, and is searched in a browser."""

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

from duomem.cli.main import main
from duomem.memory_packs.manifest import Evaluation, Release
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import Pack, read_pack, write_pack
from duomem.memory_packs.page import write_page

SHIPPED = Path(__file__).parents[2] / "shipped/packs/alfworld-expert.dmpack"
HOSTILE = "</script><script>document.title='owned'</script x><img src=//x.example onerror=alert(1)> \" ' & {{data}}"
MUG, PEN = (
    Memory(f"put a {thing} in {target}.", "pick_and_place_simple", thing, target, (f"take {thing}",), "0" * 64, "g")
    for thing, target in (("mug", "shelf"), ("pen", "desk"))
)
VOID = ("meta", "input", "br", "wbr", "img", "link")


class _Page(HTMLParser):
    """Elements in order, their text, and the ends that no element had."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.stray: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.stray += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.stray.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)


def _page(folder: Path, memories: list[Memory], name: str = "name", pack: Pack | None = None) -> str:
    pack = pack or write_pack(folder / "a.dmpack", name, "expert/1", "0" * 64, memories)
    write_page(pack, folder / "a.html")
    return (folder / "a.html").read_text(encoding="utf-8")


def _data(text: str) -> dict[str, list[Any]]:
    return json.loads(text.split('id="data">')[1].split("</script>")[0])


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["pack", "page", str(SHIPPED), "--out", str(out)]) == 0
    return out


def test_the_shipped_pack(shipped: Path) -> None:
    text = shipped.read_text(encoding="utf-8")
    assert len(text) < 1_500_000
    page = _Page(text)
    assert page.stray == [] and "alfworld-expert" in page.texts["h1"]
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "base", "form", "a")
        assert not {"src", "href", "srcset", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    outside = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.S)
    assert not re.search(r"""\w://|["'(]//|url\(|@import|fetch\(|import\(|new (Image|Worker)|XMLHttp""", outside)
    assert "pick_heat_then_place_in_recep" in text.replace("<wbr>", "") and "object:mug target:coffeemachine" in text


def test_every_entry_is_in_the_data(tmp_path: Path) -> None:
    data = _data(_page(tmp_path, [MUG, PEN, replace(MUG, steps=("look", "look"))]))
    read = [
        (data["tasks"][task], data["names"][thing], data["names"][target], id, [data["steps"][i] for i in steps])
        for task, _, thing, target, id, steps in data["entries"]
    ]
    assert read[0] == (MUG.task, "mug", "shelf", MUG.id, ["take mug"])
    assert read[2][4] == ["look", "look"] and [row[3] for row in read[:2]] == [MUG.id, PEN.id]


def test_hostile_words_are_text(tmp_path: Path) -> None:
    hostile = [replace(MUG, **{field: HOSTILE}) for field in ("task", "task_type", "object_type", "target_type")]
    text = _page(tmp_path, [*hostile, replace(MUG, steps=(HOSTILE,))], HOSTILE)
    page = _Page(text)
    assert page.stray == [] and HOSTILE in page.texts["h1"]
    assert [tag for tag, _ in page.elements if tag in ("script", "img")] == ["script", "script"]
    assert not any(name.startswith("on") or name == "src" for _, attributes in page.elements for name in attributes)
    assert "<" not in text.split('id="data">')[1].split("</script>")[0]
    assert HOSTILE in _data(text)["tasks"] and HOSTILE in _data(text)["steps"]


def test_a_pack_of_nothing_and_of_nothing_named(tmp_path: Path) -> None:
    assert "No entries." in _page(tmp_path, [])
    text = _page(tmp_path, [replace(MUG, object_type="", target_type="", task_type="")])
    assert "No entry says what it is about." in text and _Page(text).stray == []


def test_a_large_pack_is_drawn_in_part(tmp_path: Path) -> None:
    memories = [
        replace(MUG, object_type=f"thing{i}", target_type=f"place{i % 100}", task_type=f"type{i}", game=f"{i:064x}")
        for i in range(2000)
    ]
    text = _page(tmp_path, memories)
    assert text.count("<button class=l") < 100 and "rarest pairs are not drawn" in text
    assert len(_data(text)["entries"]) == 2000 and len(text) < 1_000_000


def test_the_card_is_a_table(tmp_path: Path) -> None:
    assert "it has no card" in _page(tmp_path, [MUG])
    row = Evaluation.of("f" * 64, "valid_seen", "template", "free", "k=3 <b>", 140, 126)
    pack = write_pack(tmp_path / "a.dmpack", "name", "expert/1", "0" * 64, [MUG], release=Release(evaluations=(row,)))
    page = _Page(_page(tmp_path, [], pack=pack))
    assert page.texts["td"][:2] == ["140", "126"]
    assert page.texts["td"][4:8] == ["valid_seen", "template", "free", "k=3 <b>"]
    assert page.texts["th"][:5] == ["n", "wins", "low", "high", "student"]
    assert "f" * 12 in page.texts["span"]


def _browse(page: Path, query: str) -> str:
    """The page as headless Chromium makes it after a search, as HTML."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    profile = page.parent / "profile"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    command = [chromium, *options, f"{page.as_uri()}#q={query}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.browser
def test_a_browser_searches(shipped: Path) -> None:
    n = len(read_pack(SHIPPED).memories)
    dom = _browse(shipped, "mug%20shelf%20cool")
    count = re.search(rf'id="count"[^>]*>(\d+) of {n} entries<', dom)
    assert count and 0 < int(count[1]) < 200
    found = dom.split('id="found">')[1].split("</ul>")[0]
    assert found.count("<h3>") == min(30, int(count[1]))
    for title in re.findall(r"<h3>(.*?)</h3>", found):
        assert "mug" in title and "cool" in title
    assert f">0 of {n} entries<" in _browse(shipped, "zeppelin")


@pytest.mark.browser
def test_a_browser_runs_nothing_of_the_packs(tmp_path: Path) -> None:
    _page(tmp_path, [replace(MUG, task=HOSTILE, steps=(HOSTILE,))], HOSTILE)
    dom = _browse(tmp_path / "a.html", "onerror")
    assert ">1 of 1 entries<" in dom and "<title>owned" not in dom and "<img" not in dom
