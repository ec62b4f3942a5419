"""The page of `duomem view` opened from disk in a real browser: clicked, typed at, looked at in both themes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium
from played_rows import HOSTILE, TYPES, hostile, played, row, write_rows
from viewed import compared, data_of, page_of

from duomem.core.atif import document_text
from duomem.core.trajectory import from_json

pytestmark = pytest.mark.browser

A, B = "WWLWLWWWLWWW", "WWWLLWWLLWLW"  # A alone wins 3, 7, 10; B alone 2
READY = "document.querySelector('#position').innerText !== ''"
STEP = "document.querySelector('#position').innerText"
PHONE, DESK = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    page_of(played(folder / "a.jsonl", A), out=folder / "v.html")
    return folder / "v.html"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    page_of(played(folder / "a.jsonl", A), played(folder / "b.jsonl", B), out=folder / "v.html")
    return folder / "v.html"


@pytest.fixture(scope="module")
def _browser() -> Iterator[Chromium]:
    with Chromium() as started:
        yield started


@pytest.fixture
def browser(_browser: Chromium) -> Iterator[Chromium]:
    """A browser that must have complained of nothing in the end."""
    _browser.look(*DESK)
    _browser.complaints.clear()
    yield _browser
    assert _browser.complaints == []


def _open(browser: Chromium, page: Path, fragment: str = "") -> None:
    browser.open(page, fragment)
    browser.wait(READY)


def _current(browser: Chromium) -> str:
    return browser.text("#found [aria-current]")


def test_the_table_shows_every_cell(browser: Chromium, one: Path) -> None:
    _open(browser, one)
    scores = data_of(one.read_text())["sets"][0]["scores"]
    shown = browser.ask(
        "[...document.querySelectorAll('#success tbody tr')].map((r) => [...r.cells].map((c) => c.innerText.trim()))"
    )
    assert shown == [[score["name"], "", *score["cells"]] for score in scores]
    assert browser.text("#count") == "12 of 12 episodes"
    assert browser.ask("document.querySelectorAll('#choose:not([hidden])').length") == 0


def test_keys_step_and_change_the_episode(browser: Chromium, one: Path) -> None:
    _open(browser, one)
    assert browser.ask(STEP) == "step 1 of 3" and "no. 1 " in _current(browser)
    browser.press("ArrowRight")
    assert browser.ask(STEP) == "step 2 of 3" and browser.text(".withheld") == "go to desk 1"
    assert browser.text(".transcript [aria-current=step]").split() == ["2", "take", "mug", "2"]
    browser.press("End")
    browser.press("ArrowRight")
    assert browser.ask(STEP) == "step 3 of 3" and browser.ask("document.querySelector('#on').disabled")
    browser.press("ArrowLeft")
    browser.press("Home")
    browser.press("ArrowLeft")
    assert browser.ask(STEP) == "step 1 of 3"
    browser.press("j")
    browser.press("j")
    assert browser.ask(STEP) == "step 1 of 5" and "\u2717 lost" in _current(browser)
    browser.press("k")
    assert "no. 2 " in _current(browser)
    assert browser.ask("location.hash") == "#e=2&s=1"


def test_a_step_says_why(browser: Chromium, one: Path) -> None:
    _open(browser, one, "#e=2&s=2")
    rows = browser.texts(".candidates tbody tr")
    assert [line.split("\t")[0].strip() for line in rows] == ["\u25b8 take pen 2", "look", "go to\u2026"]
    assert [line.split()[-1] for line in rows] == ["75.0%", "20.0%", "0.4%"]
    assert browser.text(".cost") == "40 ms \u00b7 41 tokens read \u00b7 6 written"
    assert browser.text("blockquote") == "put a thing in a place. 1. take thing 1"
    assert browser.text(".did") == "take pen 2" and browser.texts("#player h4")[-1] == "Then"
    assert browser.ask("document.querySelector('.latency [role=img]').ariaLabel").startswith(
        "Time a step: median 40 ms"
    )


def test_search(browser: Chromium, one: Path) -> None:
    _open(browser, one)
    browser.press("/")
    for letter in "egg k":
        browser.press(letter)
    assert browser.ask("document.activeElement.id") == "query" and browser.text("#count") == "3 of 12 episodes"
    assert all("egg" in text for text in browser.texts("#found .title"))
    browser.press("Escape")
    browser.press("j")
    assert "no. 7 " in _current(browser)
    assert browser.ask("location.hash") == "#e=7&s=1&query=egg+k"


def test_filters(browser: Chromium, one: Path) -> None:
    _open(browser, one)
    browser.choose("#outcome", "lost")
    assert browser.text("#count") == f"{A.count('L')} of 12 episodes"
    browser.choose("#type", TYPES[2])
    assert browser.text("#count") == f"{A[2::3].count('L')} of 12 episodes"
    browser.choose("#outcome", "")
    assert browser.text("#count") == "4 of 12 episodes"
    browser.click("#success tbody tr:last-child button")
    assert browser.text("#count") == "12 of 12 episodes" and browser.ask("document.querySelector('#type').value") == ""
    browser.choose("#type", TYPES[0])
    browser.press("/")
    for letter in "zzz":
        browser.press(letter)
    assert browser.text("#count") == "0 of 12 episodes" and browser.text("#goal") == "No episode found."


def test_a_deep_link(browser: Chromium, two: Path) -> None:
    _open(browser, two, "#e=5&s=4&outcome=won")
    assert browser.ask(STEP) == "step 4 of 5" and browser.ask("document.querySelector('#link').hash")[:8] == "#e=5&s=4"
    browser.ask("location.hash = '#e=3&s=2'")
    browser.wait(f"{STEP} === 'step 2 of 5'")
    assert "no. 3 " in _current(browser) and browser.text("#count") == "12 of 12 episodes"
    for odd in ("#e=99999&s=-4", "#e=x&s=1e9&a=7&b=0.5", "#%%%", "#type=nothing&outcome=nothing"):
        browser.open(two, odd)
        browser.wait("document.querySelector('#count').innerText.endsWith('episodes')")


def test_two_runs(browser: Chromium, two: Path) -> None:
    _open(browser, two)
    total = data_of(two.read_text())["pairs"]["0,1"]["rows"][-1]
    assert (total["first"], total["second"]) == (3, 1)
    assert f"only A won 3, only B won 1, p = {total['p']}" in browser.text("#success-note")
    cells = browser.ask("[...document.querySelectorAll('#success .sum > *')].map((c) => c.innerText.trim())")
    assert cells[2] == "75.0% (9/12)" and cells[-4:] == ["6", "3", "1", total["p"]]
    browser.choose("#outcome", "flipped")
    assert browser.text("#count") == "4 of 12 episodes" and len(browser.texts("#found .flips")) == 4
    browser.click("#success .sum button[class=cell]:not(th button)")
    assert browser.text("#count") == "3 of 12 episodes"
    assert "no. 4 " in _current(browser) and browser.texts("#player .head .chip") == ["\u2713 won", "\u2717 lost"]
    assert browser.ask(STEP) == "step 1 of 5"
    browser.press("End")
    assert browser.text(".ended") == "Ended at step 3: won." and browser.text("#part") == "part at 4"
    browser.click("#part")
    assert browser.ask(STEP) == "step 4 of 5"
    browser.click("#swap")
    browser.wait("document.querySelector('#count').innerText.startsWith('1 of')")
    assert "only A won 1, only B won 3" in browser.text("#success-note") and "no. 3 " in _current(browser)
    browser.choose("#b", "")
    browser.wait("document.querySelectorAll('#columns .run').length === 1")
    assert browser.text("#count") == "12 of 12 episodes"


def test_a_ladder(browser: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duomem.report.write.can_draw", lambda: False)
    compared(tmp_path / "run")
    page_of(tmp_path / "run", out=tmp_path / "v.html")
    _open(browser, tmp_path / "v.html")
    assert browser.texts("#ladders h2") == ["Conditions: free", "Conditions: constrained"]
    assert len(browser.texts("#ladders tbody tr")) == 6
    assert browser.text("#facts strong") == "LoRA, no memory, free, seed 1"
    browser.click("#ladders tbody tr .pick.b")
    browser.wait("document.querySelectorAll('#columns .run').length === 2")
    assert browser.texts("#facts strong") == ["LoRA, no memory, free, seed 1", "base, no memory, free"]
    browser.click("#ladders tbody tr:nth-child(3) .pick.a")
    browser.wait("document.querySelector('#facts strong').innerText === 'random'")
    browser.click("#ladders details summary")
    browser.wait("document.querySelectorAll('#ladders details table tbody tr').length > 0")


def test_the_record_and_its_download(browser: Chromium, one: Path) -> None:
    told = row(1)
    _open(browser, one, "#e=2&s=1")
    browser.click(".record summary")
    browser.wait("document.querySelector('.record pre') !== null")
    assert json.loads(browser.text(".record pre")) == told
    browser.click(".atif")
    file = browser.downloads / "episode-000002.json"
    browser.wait_for(file.is_file)
    assert file.read_text() == document_text(from_json(told, ""), 2)


def test_hostile_words_are_text(browser: Chromium, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "<img onerror>.jsonl", [hostile(), hostile(1)])
    page_of(file, file, out=tmp_path / "v.html")
    _open(browser, tmp_path / "v.html")
    browser.click(".record summary")
    browser.wait("document.querySelector('.record pre') !== null")
    assert json.loads(browser.text(".record pre")) == hostile()
    assert browser.ask("document.title").startswith("<img onerror> and ")
    assert browser.ask("document.querySelectorAll('img, script').length") == 6
    shown = browser.text("main")
    assert not {c for c in shown if not c.isprintable() and c not in "\n\t\u00a0"}
    assert browser.text(".did") == HOSTILE.translate(dict.fromkeys((0x2028, 0x2029, 0x202E, 0, 0x1B, 7), "\ufffd"))


def test_long_and_piled_words_stay_in_their_place(browser: Chromium, tmp_path: Path) -> None:
    marks = "a" + "\u0301" * 500
    long = row(0) | {"goal": "x" * 5000, "memory_texts": ["word" * 2000], "last": marks}
    page_of(write_rows(tmp_path / "a.jsonl", [long]), out=tmp_path / "v.html")
    browser.look(*PHONE)
    _open(browser, tmp_path / "v.html", "#e=1&s=3")
    assert browser.ask("document.documentElement.scrollWidth") <= PHONE[0]
    assert browser.ask("document.querySelector('.bar').offsetHeight") < 250
    assert browser.texts("#player .said")[-1] == "a\ufffd"


def test_a_file_of_a_teacher(browser: Chromium, tmp_path: Path) -> None:
    bare = {k: v for k, v in row(0).items() if k not in ("choices", "memories", "memory_texts", "seconds", "prefilled")}
    bare["steps"][0]["thought"] = "I want a mug."
    page_of(write_rows(tmp_path / "t.jsonl", [bare, row(1) | {"steps": [], "choices": []}]), out=tmp_path / "v.html")
    _open(browser, tmp_path / "v.html")
    assert browser.text(".thought") == "I want a mug." and browser.texts(".candidates") == []
    browser.press("j")
    assert browser.ask(STEP) == "step 1 of 1" and "No step was played." in browser.text("#player")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_what_is_chosen_is_in_sight(browser: Chromium, tmp_path: Path, size: tuple[int, int]) -> None:
    page_of(write_rows(tmp_path / "a.jsonl", (row(i, steps=60) for i in range(30))), out=tmp_path / "v.html")
    browser.look(*size)
    _open(browser, tmp_path / "v.html", "#e=29&s=55")
    for box in ("#list", ".transcript"):
        inside = f"""(() => {{ const box = document.querySelector("{box}"), r = box.getBoundingClientRect();
            const c = box.querySelector("[aria-current]").getBoundingClientRect();
            return c.top >= r.top && c.bottom <= r.bottom; }})()"""
        assert browser.ask(inside), box


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_readable(browser: Chromium, two: Path, size: tuple[int, int], dark: bool) -> None:
    """Nothing is wider than the screen, text stands out from what is behind it, and the picture is of that theme."""
    browser.look(*size, dark=dark, phone=size == PHONE)
    _open(browser, two, "#e=4&s=2")
    assert browser.ask("document.documentElement.scrollWidth") <= size[0]
    assert browser.ask(CONTRAST) == []
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 26)" if dark else "rgb(247, 247, 245)"
    )
    assert browser.screenshot(whole=True).startswith(b"\x89PNG")
    browser.click("#theme")
    browser.click("#theme")
    assert browser.text("#theme") == "Theme: dark" and browser.ask(CONTRAST) == []
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"


CONTRAST = """(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll("main *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || e.disabled || e.tagName === "OPTION" || !e.offsetParent) continue;
    const [x, y] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.className} ${e.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return bad;
})()"""


def test_everything_is_reached_by_tab_and_named(browser: Chromium, two: Path) -> None:
    _open(browser, two)
    nameless = browser.ask(
        "[...document.querySelectorAll('button, input, select, a, summary')].filter((e) => !(e.innerText || e.ariaLabel"
        " || e.labels && e.labels.length)).map((e) => e.outerHTML)"
    )
    assert nameless == []
    browser.press("Tab")
    assert browser.ask("document.activeElement.id") == "theme"
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
